//! The nodes' network: it is there, or no sandbox of a pod comes up for a while.

use std::time::Duration;

use crate::script::matches;

/// What the container runtime says of a sandbox that cannot be made.
pub(super) const WHY: &str = "rpc error: code = Unknown desc = failed to setup network for sandbox: plugin type=\"lab\" failed (add): the \
                              node's network is not up";

/// What a script says of the nodes' network: of several rules that fit a node the last counts; without one it is up.
#[derive(Clone, Debug, Default)]
pub struct Network {
    rules: Vec<(Option<String>, Duration)>,
}

impl Network {
    /// From now on no sandbox comes up before so long has passed since its pod's first try, on one node (with `*`) or (None) on all.
    pub fn fail(&mut self, node: Option<&str>, time: Duration) {
        self.rules.push((node.map(str::to_owned), time));
    }

    /// For how long after a pod's first try no sandbox comes up on that node. None: the network is up.
    pub(super) fn fails_for(&self, node: &str) -> Option<Duration> {
        let fits = |(pattern, _): &&(Option<String>, Duration)| pattern.as_deref().is_none_or(|it| matches(it, node));
        self.rules.iter().rev().find(fits).map(|(_, time)| *time)
    }
}
