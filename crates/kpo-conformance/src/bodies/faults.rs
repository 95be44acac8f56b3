//! Faults between kpo and the API server, made by a proxy of ours. Whatever befalls the requests, each line is there once, the exit code and
//! the result are the program's, and the ledger on the node shows each attempt that was to start, once.

mod course;
mod cuts;
mod kills;
mod pairs;
mod refusals;
mod stalls;
mod successors;

use crate::cluster::Namespace;
use crate::command::{Ended, Started};
use crate::components::NotHere;
use crate::ledger::Ledger;
use crate::proxy::{Asked, Fault, Moment, Proxy};
use crate::{Error, is_long, say};
use course::{Course, Kind};
pub(super) use cuts::connections_cut;
use futures::future::{Fuse, FutureExt, LocalBoxFuture, try_join_all};
use futures::{StreamExt, stream};
pub(super) use kills::killed_at_each_request;
pub(super) use pairs::{followed_through_cuts, taken_over_through_cuts};
pub(super) use refusals::requests_refused;
pub(super) use stalls::answers_stalled;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
pub(super) use successors::killed_after_taking_over;

/// How many cases run at a time: mostly they wait, and two cores bear so many.
const AT_A_TIME: usize = 10;

/// What is tried once: a task of its own, in a namespace that it shares with other tries.
struct Case<'a> {
    namespace: &'a Namespace<'a>,
    ledger: Ledger,
    /// The task's name too.
    name: String,
    kind: Kind,
    /// Whether an observer has asked for a watch: it knows of its pod then.
    is_watched: Arc<AtomicBool>,
}

/// What happens to a task, by and by. It goes on only while somebody watches over that: a pod that vanishes unseen is not what these are about.
type Story<'a> = Fuse<LocalBoxFuture<'a, Result<(), Error>>>;

/// What a case is: its kind of task, and what befalls it.
type Tried<T> = (Kind, T);

/// A request of an undisturbed run, and the bytes of its answer.
type Request = (Asked, u64);

/// Plays each of the cases, or the one that was asked for, several at a time, and tells of every failure how to play it alone.
async fn each<T: std::fmt::Debug>(
    namespace: &Namespace<'_>,
    body: &str,
    cases: Vec<Tried<T>>,
    play: impl AsyncFn(&Case<'_>, T) -> Result<(), Error>,
) -> Result<(), Error> {
    let named = cases.into_iter().map(|case| (name(&case), case));
    let asked = |name: &String| namespace.only.as_ref().is_none_or(|only| only == name);
    let cases: Vec<_> = named.filter(|(name, _)| asked(name)).collect();
    if cases.is_empty() {
        return Err(format!("no case of {body} is called {:?}", namespace.only).into());
    }
    say(&format!("             {} cases of {body}", cases.len()));
    let played = stream::iter(cases).map(async |(name, (kind, what))| {
        let case = Case::new(namespace, name, kind).await?;
        let told =
            |error| format!("{}, {kind}: {error}\n  alone: cargo xtask conformance TARGET {body}:{0}", case.name);
        play(&case, what).await.map_err(|error| told(error).into())
    });
    let mut results: Vec<Result<(), Error>> = played.buffer_unordered(AT_A_TIME).collect().await;
    // What cannot be played here has not failed.
    let is_not_here = |result: &Result<(), Error>| result.as_ref().is_err_and(|error| error.is::<NotHere>());
    if let Some(index) = results.iter().position(is_not_here) {
        return results.swap_remove(index);
    }
    let failures: Vec<String> = results.iter().filter_map(|result| Some(result.as_ref().err()?.to_string())).collect();
    match failures.len() {
        0 => namespace.is_empty().await,
        count => Err(format!("{count} of {} failed\n{}", results.len(), failures.join("\n")).into()),
    }
}

/// The same for cases that are each about a request: how many came to it is counted, since of a log that is only read again in doubt there may be
/// none. Fails if hardly any did.
async fn each_at_its_request<T: std::fmt::Debug>(
    namespace: &Namespace<'_>,
    body: &str,
    cases: Vec<Tried<T>>,
    play: impl AsyncFn(&Case<'_>, T) -> Result<bool, Error>,
) -> Result<(), Error> {
    let (came, missed) = (Cell::new(0), Cell::new(0));
    each(namespace, body, cases, async |case, what| {
        let which = if play(case, what).await? { &came } else { &missed };
        which.set(which.get() + 1);
        Ok(())
    })
    .await?;
    let (came, missed) = (came.get(), missed.get());
    say(&format!("             {came} came to their request, {missed} did not"));
    // How often a log is asked for depends on the moment.
    if came * 4 > came + missed { Ok(()) } else { Err("hardly any case came to its request".into()) }
}

/// The same where a fault befalls the request, and the task goes on to its end.
async fn each_befallen(namespace: &Namespace<'_>, body: &str, cases: Vec<Tried<(Asked, Fault)>>) -> Result<(), Error> {
    each_at_its_request(namespace, body, cases, async |case, (asked, fault)| {
        let at = asked.clone();
        let befallen = case.survives(move |now| if *now == at { fault } else { Fault::Pass }).await;
        Ok(befallen.map_err(|error| format!("{fault:?} at {asked}: {error}"))? == 1)
    })
    .await
}

/// Each request, before and after its effect.
fn at_both_moments(requests: Vec<(Kind, Asked)>) -> Vec<Tried<(Asked, Moment)>> {
    let at_moments =
        |(kind, asked): (Kind, Asked)| [Moment::Before, Moment::After].map(|moment| (kind, (asked.clone(), moment)));
    requests.into_iter().flat_map(at_moments).collect()
}

/// The same for the same case in every selection, however many others there are before it.
fn name<T: std::fmt::Debug>((kind, what): &Tried<T>) -> String {
    let mut hasher = DefaultHasher::new();
    format!("{kind} {what:?}").hash(&mut hasher);
    format!("case-{:08x}", hasher.finish() as u32)
}

/// The requests of a run of each kind that nothing befalls.
async fn undisturbed(namespace: &Namespace<'_>, kinds: &[Kind]) -> Result<Vec<(Kind, Vec<Request>)>, Error> {
    let seen = try_join_all(kinds.iter().enumerate().map(async |(number, kind)| {
        let case = Case::new(namespace, format!("undisturbed-{number}"), *kind).await?;
        let proxy = case.proxy(|_| Fault::Pass).await?;
        let ended = case.beside(&mut case.story(), case.run(&proxy)?.ended()).await?;
        case.saw_it_whole(ended)?;
        case.started()?;
        let requests = proxy.exchanges().iter().map(|exchange| (exchange.asked.clone(), exchange.written())).collect();
        Ok::<_, Error>((*kind, requests))
    }));
    let seen = seen.await?;
    namespace.is_empty().await?;
    Ok(seen)
}

/// The requests of several runs; in the gate those that are alike only once.
fn chosen(runs: Vec<(Kind, Vec<Request>)>) -> Vec<(Kind, Asked)> {
    let mut known = BTreeSet::new();
    let requests = runs.into_iter().flat_map(|(kind, run)| run.into_iter().map(move |(asked, _)| (kind, asked)));
    requests.filter(|(_, asked)| known.insert(asked.clone()) || is_long()).collect()
}

impl<'a> Case<'a> {
    async fn new(namespace: &'a Namespace<'a>, name: String, kind: Kind) -> Result<Self, Error> {
        Ok(Self { namespace, ledger: Ledger::open(namespace).await?, name, kind, is_watched: Arc::default() })
    }
}

impl Case<'_> {
    async fn proxy(&self, rule: impl Fn(&Asked) -> Fault + Send + Sync + 'static) -> Result<Proxy, Error> {
        let is_watched = Arc::clone(&self.is_watched);
        let noting = move |asked: &Asked| {
            is_watched.fetch_or(asked.what == "watch pods", Ordering::Relaxed);
            rule(asked)
        };
        Proxy::start(self.namespace, noting).await
    }

    /// Starts the task through the proxy.
    fn run(&self, proxy: &Proxy) -> Result<Started, Error> {
        self.namespace.start_as(proxy.kubeconfig(), "run", &self.arguments())
    }

    /// Runs the task through a proxy with that rule to its end, which has to be the program's; how many requests something befell.
    async fn survives(&self, rule: impl Fn(&Asked) -> Fault + Send + Sync + 'static) -> Result<usize, Error> {
        let proxy = self.proxy(rule).await?;
        let ended = self.beside(&mut self.story(), self.run(&proxy)?.ended()).await?;
        let seen = self.saw_it_whole(ended).and_then(|()| self.started());
        seen.map_err(|error| format!("{error}\n{}", proxy.told()))?;
        Ok(proxy.befallen())
    }

    fn story(&self) -> Story<'_> {
        self.kind.course.story(self).fuse()
    }

    /// Lets the story go on while an observer is at work.
    async fn beside<T>(
        &self,
        story: &mut Story<'_>,
        observer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let mut observer = std::pin::pin!(observer);
        tokio::select! {
            seen = &mut observer => return seen,
            told = &mut *story => told?,
        }
        observer.await
    }

    /// The first attempt's pod.
    fn pod(&self) -> String {
        format!("{}-1", self.name)
    }

    fn arguments(&self) -> Vec<String> {
        let flags = self.kind.flags(&self.name);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        self.ledger.run(&self.name, &flags, &self.kind.script())
    }

    /// Fails unless a command saw all of the task.
    fn saw_it_whole(&self, ended: Ended) -> Result<(), Error> {
        let ended = ended.exits(self.kind.exit())?;
        match self.kind.sees_whole(&ended) {
            true => Ok(()),
            false => Err(format!("that is not all that it printed, and its result: {ended}").into()),
        }
    }

    /// Fails unless the node saw the attempts start that were to, each once.
    fn started(&self) -> Result<(), Error> {
        self.ledger.shows(&self.name, self.kind.course.starts())
    }
}
