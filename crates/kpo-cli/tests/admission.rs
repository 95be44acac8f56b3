//! What admission does to a pod, or says of it.

mod common;

use common::cluster::{Cluster, until};
use common::{Ran, kpo};

fn run(cluster: &Cluster, flags: &[&str]) -> Ran {
    kpo(&[&["run", "--image=x", "--name=t", "--kubeconfig", &cluster.admin()][..], flags].concat())
}

#[test]
fn a_webhook_that_renames_the_own_container_ends_the_task_and_its_pod() {
    let cluster =
        Cluster::of("node node-1\nwebhook renames base to wrapped\ncontainer wrapped runs forever on-term exits 0\n");
    let ran = run(&cluster, &[]);
    let said = "launch failed: admission changed what must stay for the task to be run rightly: the container \"base\" was removed or renamed";
    assert!(ran.code == Some(126) && ran.out.is_empty() && ran.err.contains(said), "{:?} {}", ran.code, ran.err);
    assert!(ran.err.contains("  Exempt kpo's pods from the webhook that does it (label kpo.rs/task)"), "{}", ran.err);
    until(|| cluster.pods() == 0);
}

#[test]
fn a_webhook_that_denies_is_told_in_its_own_words() {
    let cluster = Cluster::of("node node-1\nwebhook denies \"no pods on Fridays\"\n");
    for flags in [&[][..], &["--dry-run=server"], &["--detach"]] {
        let ran = run(&cluster, flags);
        let said = ran.err.lines().find(|line| line.contains("refused: ")).unwrap_or_default();
        assert!(
            ran.code == Some(126) && ran.out.is_empty() && said.contains("no pods on Fridays"),
            "{flags:?} {:?} {}",
            ran.code,
            ran.err
        );
    }
    assert_eq!(cluster.pods(), 0);
}

/// A sidecar that a webhook injected ran before the pod was preempted: that is no start of the task, and it is named.
#[test]
fn what_was_injected_does_not_count_and_is_named_in_the_proof() {
    let cluster = Cluster::of(
        "node node-1\nwebhook injects-mesh\nimage x fails \"no route to host\" on node-1\ncontainer istio-proxy runs forever says \"up\" on-term exits 0\n\
         container istio-init runs 10ms exit 0\ncontainer base runs 50ms exit 0\n\
         when pod t-1 starting for 500ms: preempt it\nwhen pod t-1 disrupted: node node-2\n",
    );
    let ran = run(&cluster, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("no container of yours ever had an ID (istio-"), "{}", ran.err);
}
