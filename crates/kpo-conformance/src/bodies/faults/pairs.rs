//! Two observers at once, each of which has its connections cut.

use super::cuts::Plan;
use super::{Case, Course, Kind, Tried, each};
use crate::bodies::is_running;
use crate::cluster::Namespace;
use crate::command::Ended;
use crate::proxy::{Asked, Fault};
use crate::{Error, is_long};

/// How many seeds there are in the gate, and in the long run.
const SEEDS: (u64, u64) = (3, 60);
/// Long enough for a second observer to come while it prints.
const LINES: usize = 50;
/// Exit code of an observer that sees that another one has taken over.
const TAKEN_OVER: i32 = 76;

fn cases() -> Vec<Tried<u64>> {
    let kind = |seed: u64| if seed.is_multiple_of(2) { Course::Succeeds } else { Course::Fails };
    let kind = |seed| Kind { lines: LINES, ..kind(seed).into() };
    (1..=if is_long() { SEEDS.1 } else { SEEDS.0 }).map(|seed| (kind(seed), seed)).collect()
}

/// The second only follows: it sees as much as the first, or says what of the log it does not know, since the first cleans up when it has seen
/// all, and waits for nobody.
pub(in crate::bodies) async fn followed_through_cuts(namespace: &Namespace<'_>) -> Result<(), Error> {
    each(namespace, "followed_through_cuts", cases(), async |case, seed| {
        let [first, second] = pair(case, seed, &[]).await?;
        case.saw_it_whole(first.0)?;
        let (second, told) = second;
        if second.stderr.contains("gap: the log after") && case.kind.printed().starts_with(&second.stdout) {
            return second.exits(case.kind.exit()).map(drop);
        }
        case.saw_it_whole(second).map_err(|error| format!("the second: {error}\n{told}").into())
    })
    .await
}

/// The second takes over while the first lives, which leaves when it sees that: what it has printed by then is how all of it begins.
pub(in crate::bodies) async fn taken_over_through_cuts(namespace: &Namespace<'_>) -> Result<(), Error> {
    each(namespace, "taken_over_through_cuts", cases(), async |case, seed| {
        let [(first, told), (second, seconds)] = pair(case, seed, &["--take-over"]).await?;
        case.saw_it_whole(second).map_err(|error| format!("the second: {error}\n{seconds}"))?;
        match first.code {
            Some(TAKEN_OVER) if case.kind.printed().starts_with(&first.stdout) => Ok(()),
            Some(TAKEN_OVER) => Err(format!("not how all of it begins: {first}\n{told}").into()),
            _ => case.saw_it_whole(first).map_err(|error| format!("{error}\n{told}").into()),
        }
    })
    .await
}

/// Two observers to the end, each with its requests.
async fn pair(case: &Case<'_>, seed: u64, flags: &[&str]) -> Result<[(Ended, String); 2], Error> {
    let storm = |seed| Plan::storm(seed);
    let (first, second) = (storm(2 * seed), storm(2 * seed + 1));
    // Neither is to miss all of the task before it has begun to watch it.
    let is_early = |asked: &Asked| asked.what.starts_with("list") || asked.what.starts_with("create");
    let first = case.proxy(move |asked| if is_early(asked) { Fault::Pass } else { first.fault(asked) }).await?;
    let second = case.proxy(move |asked| if is_early(asked) { Fault::Pass } else { second.fault(asked) }).await?;
    let run = case.run(&first)?;
    case.namespace.pod(&case.pod(), "runs", is_running).await?;
    let attach = case.namespace.start_as(second.kubeconfig(), "attach", &[&[case.name.as_str()], flags].concat())?;
    let (run, attach) = futures::future::join(run.ended(), attach.ended()).await;
    case.started()?;
    Ok([(run?, first.told()), (attach?, second.told())])
}
