//! An observer killed at each request that it sends: when it has left, and when the API server has done it but nobody was told. Who takes over
//! goes on with the task; where nothing had been made that is said, and it can be run anew.

use super::{Case, Course, Kind, Story, at_both_moments, chosen, each_at_its_request, undisturbed};
use crate::cluster::Namespace;
use crate::command::Ended;
use crate::proxy::{Asked, Fault, Moment};
use crate::{Error, is_long};
use std::sync::atomic::Ordering;

/// `kpo attach` finds no pod of the task.
const NO_POD: i32 = 66;

/// In the gate those of the first three.
fn kinds() -> Vec<Kind> {
    let courses = [Course::Succeeds, Course::Evicted, Course::Retried, Course::Fails, Course::LargeResult];
    let courses = if is_long() { &courses[..] } else { &courses[..3] };
    let both = |course: Course| [Kind::from(course).protected(), Kind::from(course)];
    courses.iter().copied().flat_map(both).collect()
}

pub(in crate::bodies) async fn killed_at_each_request(namespace: &Namespace<'_>) -> Result<(), Error> {
    let requests = chosen(undisturbed(namespace, &kinds()).await?);
    each_at_its_request(
        namespace,
        "killed_at_each_request",
        at_both_moments(requests),
        async |case, (asked, moment)| {
            let told = |error| format!("killed at {asked}, {moment:?}: {error}");
            killed_at(case, &asked, moment).await.map_err(|error| told(error).into())
        },
    )
    .await
}

/// Whether the run came to that request at all.
async fn killed_at(case: &Case<'_>, asked: &Asked, moment: Moment) -> Result<bool, Error> {
    let mut story = case.story();
    let killed = case.beside(&mut story, killed_run(case, asked, moment)).await?;
    if killed.code.is_some() {
        case.saw_it_whole(killed)?;
        return case.started().map(|()| false);
    }
    goes_on(case, story, (may_be_gone(case.kind, asked), moment), killed).await.map(|()| true)
}

/// Another takes over from one that was killed; where there may be no pod of the task any more it can be run anew.
pub(super) async fn goes_on(
    case: &Case<'_>,
    mut story: Story<'_>,
    (may_be_gone, moment): (bool, Moment),
    killed: Ended,
) -> Result<(), Error> {
    // Nothing befalls the requests of those who go on: they know of a pod when there is one.
    case.is_watched.store(true, Ordering::Relaxed);
    let attached = case.beside(&mut story, case.namespace.kpo("attach", &attach(case))).await?;
    let is_gone = attached.code == Some(NO_POD);
    // The last of it was taken away, or is about to be, when all had been said.
    if moment == Moment::After && case.kind.sees_whole(&killed) {
        return if is_gone { case.started() } else { attached.exits(case.kind.exit()).and_then(|_| case.started()) };
    }
    if !is_gone {
        case.saw_it_whole(attached).map_err(|error| format!("{error}\nthe run before it: {killed}"))?;
        return case.started();
    }
    if !case.ledger.starts()?.is_empty() || !may_be_gone {
        return Err(format!("the task is lost: {attached}\nthe run before it: {killed}").into());
    }
    let run = case.beside(&mut story, case.namespace.kpo("run", &case.arguments())).await?;
    case.saw_it_whole(run)?;
    if case.ledger.starts()?.len() == 1 { Ok(()) } else { case.started() }
}

/// As the run was asked to say it.
pub(super) fn attach(case: &Case<'_>) -> Vec<String> {
    let form: &[&str] = if case.kind.course == Course::LargeResult { &["-o", "json"] } else { &[] };
    [&[case.name.as_str(), "--take-over"], form].concat().into_iter().map(str::to_owned).collect()
}

/// Runs until the request is held, and kills it there; or to its end, if it does not come to that: what it had said.
async fn killed_run(case: &Case<'_>, asked: &Asked, moment: Moment) -> Result<Ended, Error> {
    let at = asked.clone();
    let proxy = case.proxy(move |now| if *now == at { Fault::Hold(moment) } else { Fault::Pass }).await?;
    case.run(&proxy)?.killed_when(proxy.held()).await
}

/// Whether nobody can know of the task: no pod of it was asked for yet, or what there was vanished unseen and unprotected.
fn may_be_gone(kind: Kind, asked: &Asked) -> bool {
    let is_first = asked.nth == 1 && (asked.what == "list pods" || asked.what == "create pods");
    is_first || (kind.course == Course::Evicted && !kind.protected)
}
