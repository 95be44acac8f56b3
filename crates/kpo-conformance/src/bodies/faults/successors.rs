//! An observer that took over from one that was killed, and is killed at each request of its own: a third goes on.

use super::kills::{attach, goes_on};
use super::{Case, Course, Kind, Request, Story, at_both_moments, chosen, each_at_its_request};
use crate::cluster::Namespace;
use crate::command::Ended;
use crate::proxy::{Asked, Fault, Moment, Proxy};
use crate::{Error, is_long};

pub(in crate::bodies) async fn killed_after_taking_over(namespace: &Namespace<'_>) -> Result<(), Error> {
    let courses: &[Course] = if is_long() { &Course::ALL } else { &[Course::Succeeds] };
    let mut runs = Vec::new();
    for (number, course) in courses.iter().enumerate() {
        runs.push(undisturbed(namespace, number, Kind::from(*course).protected()).await?);
    }
    let cases = at_both_moments(chosen(runs));
    each_at_its_request(namespace, "killed_after_taking_over", cases, async |case, (asked, moment)| {
        let told = |error| format!("the second is killed at {asked}, {moment:?}: {error}");
        killed_twice(case, &asked, moment).await.map_err(|error| told(error).into())
    })
    .await
}

/// The requests of a second observer that nothing befalls.
async fn undisturbed(namespace: &Namespace<'_>, number: usize, kind: Kind) -> Result<(Kind, Vec<Request>), Error> {
    let case = Case::new(namespace, format!("undisturbed-{number}"), kind).await?;
    let mut story = case.story();
    first_is_killed(&case, &mut story).await?;
    let proxy = case.proxy(|_| Fault::Pass).await?;
    let attached = case.beside(&mut story, second(&case, &proxy)).await?;
    case.saw_it_whole(attached)?;
    case.started()?;
    namespace.is_empty().await?;
    Ok((kind, proxy.exchanges().iter().map(|exchange| (exchange.asked.clone(), exchange.written())).collect()))
}

/// The first one has made the pod, and has not seen anything of it yet.
async fn first_is_killed(case: &Case<'_>, story: &mut Story<'_>) -> Result<(), Error> {
    let is_watch = |asked: &Asked| asked.what == "watch pods";
    let hold = move |asked: &Asked| if is_watch(asked) { Fault::Hold(Moment::After) } else { Fault::Pass };
    let proxy = case.proxy(hold).await?;
    case.beside(story, case.run(&proxy)?.killed_when(proxy.held())).await.map(drop)
}

/// It is killed at the request that is held, if it comes to that.
async fn second(case: &Case<'_>, proxy: &Proxy) -> Result<Ended, Error> {
    case.namespace.start_as(proxy.kubeconfig(), "attach", &attach(case))?.killed_when(proxy.held()).await
}

/// Whether the second came to that request at all.
async fn killed_twice(case: &Case<'_>, asked: &Asked, moment: Moment) -> Result<bool, Error> {
    let mut story = case.story();
    first_is_killed(case, &mut story).await?;
    let at = asked.clone();
    let proxy = case.proxy(move |now| if *now == at { Fault::Hold(moment) } else { Fault::Pass }).await?;
    let killed = case.beside(&mut story, second(case, &proxy)).await?;
    if killed.code.is_some() {
        case.saw_it_whole(killed)?;
        return case.started().map(|()| false);
    }
    goes_on(case, story, (false, moment), killed).await.map(|()| true)
}
