//! The same bodies over a kubeconfig, against the lab and against a real cluster: what kpo says of a cluster is worth what a real one says.
//!
//! Each body has a namespace of its own and drives the command line as a user would. One that fails prints the namespace's pods and
//! events, and what kpo said.

mod account;
mod bodies;
mod cluster;
mod command;
mod components;
mod container;
mod differ;
mod ledger;
mod proxy;
mod record;
mod registry;
#[cfg(test)]
mod scenarios;
mod target;
mod undo;
mod webhook;

use bodies::{BODIES, Body, CLUSTER_ONLY};
use cluster::Namespace;
use components::NotHere;
use futures::{StreamExt, stream};
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use target::Target;

/// What makes a body, or all of it, fail: a line for a person.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
/// How many modest bodies are played side by side: mostly they wait, and two cores bear so many.
const AT_A_TIME: usize = 8;
/// No body takes longer than this on a cluster that is well.
const LIMIT: Duration = Duration::from_secs(300);
/// The same where bodies are thorough.
const LONG_LIMIT: Duration = Duration::from_secs(3 * 3600);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // A second caller finds it installed: fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [kpo, "differ", kubeconfig, count, from] => differ::differ(kpo, kubeconfig, count, from).await,
        [kpo, "record", kubeconfig, folder, ref names @ ..] => record::record(kpo, kubeconfig, folder, names).await,
        [kpo, target, ref names @ ..] => all(kpo, target, names).await,
        _ => Err("usage: kpo-conformance KPO lab|KUBECONFIG [NAME[:CASE]…] | KPO differ KUBECONFIG COUNT FROM | KPO record KUBECONFIG FOLDER [NAME…]".into()),
    };
    match result {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Runs the bodies on a target that is ended whatever comes of them; how many failed.
async fn all(kpo: &str, target: &str, names: &[&str]) -> Result<usize, Error> {
    let target = Target::open(kpo, target).await?;
    let failed = each(&target, names).await;
    target.close().await?;
    failed
}

/// Runs those bodies that are called by one of `names` (none: all), of a name `BODY:CASE` only that case; how many failed.
async fn each(target: &Target, names: &[&str]) -> Result<usize, Error> {
    let only = names.iter().find_map(|name| name.split_once(':')).map(|(_, case)| case);
    let names: Vec<&str> = names.iter().filter_map(|name| name.split(':').next()).collect();
    let wanted = |body: &&Body| names.is_empty() || names.iter().any(|name| body.is_called(name));
    let cluster_only = if target.is_lab() { &[] } else { CLUSTER_ONLY };
    // Those of the cluster only take longest: they begin.
    let bodies: Vec<&Body> = cluster_only.iter().chain(BODIES).filter(wanted).collect();
    if bodies.is_empty() {
        return Err(format!("no body is called {}", names.join(" or ")).into());
    }
    let mut counts = Counts::default();
    let (modest, alone): (Vec<&Body>, Vec<&Body>) = bodies.into_iter().partition(|body| body.is_modest());
    let beside = stream::iter(modest).map(|body| one(target, body, only)).buffer_unordered(AT_A_TIME);
    let mut results = beside.chain(stream::iter(alone).then(|body| one(target, body, only))).boxed_local();
    while let Some(result) = results.next().await {
        counts.add(&result);
    }
    drop(results);
    say(&format!("{}: {counts}", target.name));
    if target.is_lab() {
        say(&format!(
            "not for the lab, which has no Roles and no components: {}",
            CLUSTER_ONLY.iter().map(|body| body.name).collect::<Vec<_>>().join(", ")
        ));
    }
    Ok(counts.failed)
}

/// Plays a body in a namespace of its own, says how it came out, and takes back what it has changed.
async fn one(target: &Target, body: &Body, only: Option<&str>) -> Result<(), Error> {
    let began = Instant::now();
    let result = match Namespace::create(target, body.name).await {
        Ok(namespace) => within(Namespace { only: only.map(str::to_owned), ..namespace }, body).await,
        Err(error) => Err(error),
    };
    say(&format!("{:7.1} s  {:6}  {}", began.elapsed().as_secs_f64(), word(&result), body.name));
    if let Err(error) = &result {
        say(&format!("  {error}"));
    }
    result
}

async fn within(namespace: Namespace<'_>, body: &Body) -> Result<(), Error> {
    let limit = if is_long() { LONG_LIMIT } else { LIMIT };
    let result = tokio::time::timeout(limit, (body.run)(&namespace)).await;
    let result = match result.unwrap_or_else(|_| Err(format!("not done after {} s", limit.as_secs()).into())) {
        Err(error) if !error.is::<NotHere>() => Err(format!("{error}\n{}", namespace.shown().await.trim_end()).into()),
        result => result,
    };
    let undone = namespace.undo_all().await;
    result.and(undone)
}

fn word(result: &Result<(), Error>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(error) if error.is::<NotHere>() => "-",
        Err(_) => "FAILED",
    }
}

/// How the bodies came out.
#[derive(Default)]
struct Counts {
    passed: usize,
    failed: usize,
    not_here: usize,
}

impl Counts {
    fn add(&mut self, result: &Result<(), Error>) {
        match result {
            Ok(()) => self.passed += 1,
            Err(error) if error.is::<NotHere>() => self.not_here += 1,
            Err(_) => self.failed += 1,
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.not_here > 0 { write!(f, ", {} cannot be run here", self.not_here) } else { Ok(()) }
    }
}

/// Whether bodies are to be thorough (`KPO_LONG=1`), rather than quick enough for the gate.
pub(crate) fn is_long() -> bool {
    std::env::var_os("KPO_LONG").is_some()
}

/// A line on stderr.
pub(crate) fn say(line: &str) {
    // A closed stderr is nothing to fail for.
    let _ = writeln!(std::io::stderr(), "{line}");
}
