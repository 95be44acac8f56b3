//! A real cluster on this machine (`cluster/cluster`, whose README says how it lives), and what is run on it.

use crate::run::{Step, all, cargo};
use std::process::Command;

/// The folder of the cluster that is brought up here; `KPO_CLUSTER` says which, if several are (none: 0).
pub(crate) fn folder() -> String {
    let instance = std::env::var("KPO_CLUSTER").unwrap_or_default();
    format!("target/cluster{}", instance.strip_prefix('0').unwrap_or(&instance))
}

fn kubeconfig() -> String {
    format!("{}/admin.kubeconfig", folder())
}

pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    all([Step::new("cluster", Command::new("cluster/cluster")).args(arguments)])
}

/// The conformance bodies against `lab`, `cluster` (the one of [`run`], brought up) or the cluster of a kubeconfig. With no target: that of
/// `KPO_TEST_KUBECONFIG`.
pub(crate) fn conformance(arguments: &[String]) -> Result<(), String> {
    let named = arguments.first().cloned().or_else(|| std::env::var("KPO_TEST_KUBECONFIG").ok());
    let target = named.ok_or("against what? lab, cluster, or the path of a kubeconfig")?;
    build()?;
    let kubeconfig = if target == "cluster" { kubeconfig() } else { target.clone() };
    let mut bodies = Command::new("target/debug/kpo-conformance");
    if target == "cluster" {
        run(&["up".to_owned(), "2".to_owned()])?;
        // Bodies that let parts of the cluster fail need to know how; on somebody else's they must not.
        bodies.env("KPO_CLUSTER_SCRIPT", "cluster/cluster");
    }
    let step = Step::new("conformance", bodies).args(&["target/debug/kpo".to_owned(), kubeconfig]);
    all([step.args(arguments.get(1..).unwrap_or_default())])
}

/// Where recordings lie.
const RECORDINGS: &str = "crates/kpo-core/tests/recordings";

/// Plays causes on a cluster of one node, brought up anew, and writes what its watches show.
pub(crate) fn record(names: &[String]) -> Result<(), String> {
    build()?;
    run(&["down".to_owned()])?;
    run(&["up".to_owned()])?;
    let mut recorder = Command::new("target/debug/kpo-conformance");
    recorder.env("KPO_CLUSTER_SCRIPT", "cluster/cluster");
    recorder.args(["target/debug/kpo", "record"]).arg(kubeconfig()).arg(RECORDINGS);
    all([Step::new("record", recorder).args(names)])
}

fn build() -> Result<(), String> {
    all([Step::new("build", cargo(&["build", "--locked", "--package", "kpo-cli", "--package", "kpo-conformance"]))])
}

/// Random sequences of requests to the lab and to the cluster of [`run`], brought up.
pub(crate) fn differ(arguments: &[String]) -> Result<(), String> {
    let given = |index: usize, otherwise: &str| arguments.get(index).cloned().unwrap_or_else(|| otherwise.to_owned());
    let (count, from) = (given(0, "200"), given(1, "1"));
    build()?;
    run(&["up".to_owned()])?;
    let step = Step::new("differ", Command::new("target/debug/kpo-conformance"));
    all([step.args(&["target/debug/kpo".to_owned(), "differ".to_owned(), kubeconfig(), count, from])])
}
