//! Faults between kpo and the API server, made by a proxy of ours. Whatever befalls the requests, each line is there once, the exit code and
//! the result are the program's, and the ledger on the node shows one start.

mod cuts;
mod kills;
mod pairs;
mod refusals;

use crate::Error;
use crate::cluster::Namespace;
use crate::command::{Ended, Started};
use crate::ledger::Ledger;
use crate::proxy::{Asked, Fault, Proxy};
pub(super) use cuts::connections_cut;
use futures::{StreamExt, stream};
pub(super) use kills::killed_at_each_request;
pub(super) use pairs::{followed_through_cuts, taken_over_through_cuts};
pub(super) use refusals::requests_refused;

/// How many cases run at a time: what two cores bear.
const AT_A_TIME: usize = 6;
/// How many lines a program prints where nothing else is asked for.
const LINES: usize = 15;
/// What a program hands back that ends well.
const RESULT: &str = "41";

/// What is tried once: a task of its own, in a namespace that it shares with other tries.
struct Case<'a> {
    namespace: &'a Namespace<'a>,
    ledger: Ledger,
    /// The task's name too.
    name: String,
    /// The program's exit code; 0: it has a result too.
    exit: i32,
    /// How many lines it prints, a tenth of a second apart.
    lines: usize,
}

/// Plays each of the named cases, or the one that was asked for, and tells of every failure how to play it alone.
async fn each<T>(
    namespace: &Namespace<'_>,
    body: &str,
    cases: Vec<(String, T)>,
    play: impl AsyncFn(Case<'_>, T) -> Result<(), Error>,
) -> Result<(), Error> {
    let asked = |name: &String| namespace.only.as_ref().is_none_or(|only| only == name);
    let cases: Vec<_> = cases.into_iter().filter(|(name, _)| asked(name)).collect();
    if cases.is_empty() {
        return Err(format!("no case of {body} is called {:?}", namespace.only).into());
    }
    let played = stream::iter(cases.into_iter().enumerate()).map(async |(number, (name, what))| {
        let exit = if number % 2 == 0 { 0 } else { 7 };
        let case = Case { namespace, ledger: Ledger::open(namespace)?, name: name.clone(), exit, lines: LINES };
        let alone = format!("alone: kpo-conformance KPO TARGET {body}:{name}");
        play(case, what).await.map_err(|error| format!("{name}: {error}\n  {alone}").into())
    });
    let results: Vec<Result<(), Error>> = played.buffer_unordered(AT_A_TIME).collect().await;
    let failures: Vec<String> = results.iter().filter_map(|result| Some(result.as_ref().err()?.to_string())).collect();
    match failures.len() {
        0 => namespace.is_empty().await,
        count => Err(format!("{count} of {} failed\n{}", results.len(), failures.join("\n")).into()),
    }
}

impl Case<'_> {
    async fn proxy(&self, rule: impl Fn(&Asked) -> Fault + Send + Sync + 'static) -> Result<Proxy, Error> {
        Proxy::start(self.namespace.target, rule).await
    }

    /// Starts the task through the proxy.
    fn run(&self, proxy: &Proxy, flags: &[&str]) -> Result<Started, Error> {
        self.namespace.start_as(proxy.kubeconfig(), "run", &self.arguments(flags))
    }

    fn arguments(&self, flags: &[&str]) -> Vec<String> {
        let how: &[&str] = if self.exit == 0 { &["--result", "--results", "message"] } else { &[] };
        let writes = format!("mkdir -p /airflow/xcom; echo {RESULT} > /airflow/xcom/return.json");
        let prints = format!("i=1; while [ $i -le {} ]; do echo line $i; i=$((i+1)); sleep 0.1; done", self.lines);
        let end = if self.exit == 0 { writes } else { format!("exit {}", self.exit) };
        self.ledger.run(&self.name, &[how, flags].concat(), &format!("{prints}; {end}"))
    }

    /// The first attempt's pod.
    fn pod(&self) -> String {
        format!("{}-1", self.name)
    }

    /// Fails unless a command saw all of the task.
    fn saw_it_whole(&self, ended: Ended) -> Result<(), Error> {
        let ended = ended.exits(self.exit)?.prints(&self.printed())?;
        if self.exit == 0 { ended.says(&format!("result: {RESULT}\n")).map(drop) } else { Ok(()) }
    }

    /// All that the program prints.
    fn printed(&self) -> String {
        (1..=self.lines).map(|number| format!("line {number}\n")).collect()
    }

    /// Whether what it came to was said, by a command that then was killed.
    fn says_its_end(&self, killed: &Ended) -> bool {
        killed.stderr.contains(&if self.exit == 0 {
            format!("result: {RESULT}\n")
        } else {
            format!("exited {}", self.exit)
        })
    }

    /// Fails unless the node saw these attempts start, each once.
    fn started(&self, attempts: &[u32]) -> Result<(), Error> {
        self.ledger.shows(&self.name, attempts)
    }
}

/// The requests of a run that nothing befalls, with the bytes of each answer.
async fn undisturbed(namespace: &Namespace<'_>, flags: &[&str]) -> Result<Vec<(Asked, u64)>, Error> {
    let case =
        Case { namespace, ledger: Ledger::open(namespace)?, name: "undisturbed".to_owned(), exit: 0, lines: LINES };
    let proxy = case.proxy(|_| Fault::Pass).await?;
    case.saw_it_whole(case.run(&proxy, flags)?.ended().await?)?;
    case.started(&[1])?;
    namespace.is_empty().await?;
    Ok(proxy.exchanges().iter().map(|exchange| (exchange.asked.clone(), exchange.written())).collect())
}
