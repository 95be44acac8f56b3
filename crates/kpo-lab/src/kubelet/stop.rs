//! SyncTerminatingPod and SyncTerminatedPod (`kubelet.go`): containers are stopped, then the end is reported, then the object goes.

use serde_json::Value;

use super::machine::PodOnMachine;
use super::status;
use super::sync::signal;
use super::worker::{LEAST_GRACE, Node, Stage, Stopping, Worker, seconds};
use crate::pod;
use crate::runtime::Signal;
use crate::world::Cx;

impl Worker {
    /// The pod is to end: says so as far as it may, and tells the containers.
    pub(super) fn terminating(&mut self, cx: &mut Cx<'_>, node: &mut Node<'_>, machine: &mut PodOnMachine) {
        self.could_run = true;
        let mut status = self.generate(cx, node);
        self.apply_kill(&mut status);
        self.set_status(cx, status, false);
        let deadline = cx.now + seconds(self.grace());
        let stopping = self.begin_stopping(cx, node.name, machine, deadline);
        self.go(Stage::Killing(stopping.clone()), stopping.deadline);
        self.go_on_stopping(cx, node, machine, stopping);
    }

    /// Seconds until containers are killed (`calculateEffectiveGracePeriod`, and never below two).
    fn grace(&self) -> i64 {
        let asked = self.kill.as_ref().and_then(|order| order.grace);
        let deletion = self.pod["metadata"]["deletionGracePeriodSeconds"].as_i64();
        asked.or(deletion).unwrap_or_else(|| pod::grace_seconds(&self.pod)).max(LEAST_GRACE)
    }

    /// Goes on once something of it has ended: the next sidecar's turn, or the sandbox's.
    pub(super) fn go_on_stopping(
        &mut self,
        cx: &mut Cx<'_>,
        node: &Node<'_>,
        machine: &mut PodOnMachine,
        mut stopping: Stopping,
    ) {
        let waiting = |name: &str| stopping.sidecars.iter().any(|sidecar| sidecar == name);
        let busy = machine.running().any(|(name, _)| !waiting(name));
        if !busy {
            stopping.sidecars.retain(|name| machine.runs(name));
            match stopping.sidecars.pop() {
                Some(sidecar) => {
                    stopping.deadline = stopping.deadline.max(cx.now + seconds(LEAST_GRACE));
                    signal(cx, machine, &sidecar, Signal::Term);
                }
                None => return self.take_sandbox_down(cx, node, machine),
            }
        }
        let at = stopping.deadline;
        let stage = match self.stage {
            Stage::StopSidecars(_) => Stage::StopSidecars(stopping),
            _ => Stage::Killing(stopping),
        };
        self.go(stage, at);
    }

    fn take_sandbox_down(&mut self, cx: &Cx<'_>, node: &Node<'_>, machine: &PodOnMachine) {
        let at = if machine.is_up() { cx.now + node.timing.stop } else { cx.now };
        let stage = match self.stage {
            Stage::StopSidecars(_) => Stage::StopSandboxInSync,
            _ => Stage::StopSandbox,
        };
        self.go(stage, at);
    }

    /// The grace is over: what was told to end and runs on is killed. Sidecars whose turn has not come get theirs.
    pub(super) fn overdue(&mut self, cx: &mut Cx<'_>, node: &Node<'_>, machine: &mut PodOnMachine, stopping: Stopping) {
        let running = machine.running().map(|(name, _)| name.to_owned());
        let told: Vec<String> = running.filter(|name| !stopping.sidecars.contains(name)).collect();
        for name in &told {
            signal(cx, machine, name, Signal::Kill);
        }
        if told.is_empty() {
            self.go_on_stopping(cx, node, machine, stopping);
        }
    }

    /// Everything is down: the status has the containers' ends now, and nothing is held back any more.
    pub(super) fn stopped(&mut self, cx: &mut Cx<'_>, node: &mut Node<'_>, machine: &mut PodOnMachine) {
        if let Some(sandbox) = &mut machine.sandbox {
            sandbox.alive = false;
        }
        self.look = None;
        self.seen = machine.clone();
        self.could_run = false;
        let mut status = self.generate(cx, node);
        self.apply_kill(&mut status);
        self.set_status(cx, status, false);
        self.last_sync = cx.now;
        let at = node.timing.next_look(node.origin, cx.now);
        self.go(Stage::Terminated, at);
    }

    /// The end: every container gets a state, the phase becomes terminal, a deletion is completed.
    pub(super) fn terminated(&mut self, cx: &mut Cx<'_>, node: &mut Node<'_>) {
        let mut status: Value = self.generate(cx, node);
        self.keep_disruption(&mut status);
        status::terminate(&self.pod, &mut status);
        self.set_status(cx, status, true);
        self.stage = Stage::Done;
        self.due = None;
        self.delete(cx);
    }

    /// The condition that came with the kubelet's own reason stays what it was.
    fn keep_disruption(&self, status: &mut Value) {
        let known = pod::list(&self.status, "conditions").iter().find(|c| c["type"] == "DisruptionTarget");
        if let (Some(known), Some(conditions)) = (known, status["conditions"].as_array_mut()) {
            conditions.push(known.clone());
        }
    }
}
