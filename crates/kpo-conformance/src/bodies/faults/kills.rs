//! An observer killed at each request that it sends: when it has left, and when the API server has done it but nobody was told.

use super::{Case, each, undisturbed};
use crate::Error;
use crate::cluster::Namespace;
use crate::command::Ended;
use crate::is_long;
use crate::proxy::{Asked, Fault, Moment};

/// `kpo attach` finds no pod of the task.
const NO_POD: i32 = 66;

pub(in crate::bodies) async fn killed_at_each_request(namespace: &Namespace<'_>) -> Result<(), Error> {
    let mut cases = Vec::new();
    let protections: &[&[&str]] = &[&[], &["--protect"]];
    for flags in protections {
        for (asked, _) in undisturbed(namespace, flags).await? {
            for moment in [Moment::Before, Moment::After] {
                cases.push((format!("kill-{}", cases.len() + 1), (*flags, asked.clone(), moment)));
            }
        }
    }
    if !is_long() {
        cases.retain(|(_, (flags, asked, _))| flags.is_empty() || !asked.what.contains("log"));
    }
    each(namespace, "killed_at_each_request", cases, async |case, (flags, asked, moment)| {
        let told = |error| format!("{flags:?}, killed at {asked}, {moment:?}: {error}");
        killed_at(&case, flags, asked.clone(), moment).await.map_err(|error| told(error).into())
    })
    .await
}

async fn killed_at(case: &Case<'_>, flags: &[&str], asked: Asked, moment: Moment) -> Result<(), Error> {
    let run = killed_run(case, flags, &asked, moment).await?;
    let attached = case.namespace.kpo("attach", &[&case.name, "--take-over"]).await?;
    if attached.code != Some(NO_POD) {
        case.saw_it_whole(attached)?;
        return case.started(&[1]);
    }
    match case.ledger.starts()?.len() {
        // Nothing had been made: it is run as if for the first time.
        0 => {
            let again = case.namespace.kpo("run", &case.arguments(flags)).await?;
            case.saw_it_whole(again)?;
            case.started(&[1])
        }
        // All of it had been said when the last of the pod was taken away.
        1 if moment == Moment::After && run.stdout == case.printed() && case.says_its_end(&run) => Ok(()),
        _ => Err(format!("the task is lost: {attached}\nthe run before it: {run}").into()),
    }
}

/// Runs until the request is held, and kills it there: what it had said until then.
async fn killed_run(case: &Case<'_>, flags: &[&str], asked: &Asked, moment: Moment) -> Result<Ended, Error> {
    let at = asked.clone();
    let proxy = case.proxy(move |now| if *now == at { Fault::Hold(moment) } else { Fault::Pass }).await?;
    let ended = case.run(&proxy, flags)?.killed_when(proxy.held()).await;
    ended.map_err(|error| format!("{error}\n{}", proxy.told()).into())
}
