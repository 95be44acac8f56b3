//! The scripts that the lab brings along.

use super::{Script, parse};

/// Their names.
pub const NAMES: [&str; 2] = ["quiet", "preemption"];

/// One node with plenty of everything, on which nothing happens.
const QUIET: &str = "node node-1\n";

/// The seed's situation (airflow#59626): an autoscaler adds a node for the pod; the node's DaemonSet, which selects a label that the node only gets
/// after it has come up, arrives with a higher priority and finds the node full; the pod goes before it ran. The next node has room for both.
const PREEMPTION: &str = "\
provisioner karpenter after 300ms
provides node-* cpu=4 memory=16Gi pods=1 label node-agent=ready later 700ms
provides node-* cpu=16 memory=64Gi label node-agent=ready later 700ms
daemonset kube-system/node-agent cpu=500m priority-class=system-node-critical selector node-agent=ready
network fails for 2s on node-1
image * pulls in 300ms
";

/// The text of a script that the lab brings along; None if there is none of this name.
fn text(name: &str) -> Option<&'static str> {
    match name {
        "quiet" => Some(QUIET),
        "preemption" => Some(PREEMPTION),
        _ => None,
    }
}

/// A script that the lab brings along; None if there is none of this name ([`NAMES`]).
pub fn built_in(name: &str) -> Option<Script> {
    // A test reads them all.
    text(name).and_then(|text| parse(text).ok())
}
