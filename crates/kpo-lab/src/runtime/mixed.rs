//! Scripted containers beside real ones: what a script says something of is scripted, all else runs.

use std::sync::Arc;

use super::{
    ContainerId, ContainerSpec, ContainerState, ExecRequest, PodSetup, PrepareError, Runtime, RuntimeEvent, Session,
    SessionError, Signal, StartError, Waker,
};
use crate::log::ContainerLog;
use crate::scripted::ScriptedRuntime;
use crate::time::Time;

/// Two runtimes as one: a container that a rule of the scripted one matches is its, every other one is the other's. So a
/// live lab's DaemonSets cost no process, and a script can still say that one container runs out of memory.
///
/// A pod's volumes are set up in both; what a scripted container writes, a real one does not see.
pub struct MixedRuntime {
    scripted: ScriptedRuntime,
    others: Box<dyn Runtime>,
}

impl std::fmt::Debug for MixedRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MixedRuntime").field("scripted", &self.scripted).finish_non_exhaustive()
    }
}

impl MixedRuntime {
    /// Containers that `scripted` has a rule for are its, the rest are `others`'.
    pub fn new(scripted: ScriptedRuntime, others: Box<dyn Runtime>) -> Self {
        Self { scripted, others }
    }

    fn owner(&self, id: &ContainerId) -> &dyn Runtime {
        if self.scripted.state(id).is_some() { &self.scripted } else { &*self.others }
    }

    fn owner_mut(&mut self, id: &ContainerId) -> &mut dyn Runtime {
        if self.scripted.state(id).is_some() { &mut self.scripted } else { &mut *self.others }
    }
}

impl Runtime for MixedRuntime {
    fn prepare_pod(&mut self, now: Time, setup: &PodSetup) -> Result<(), PrepareError> {
        self.scripted.prepare_pod(now, setup)?;
        self.others.prepare_pod(now, setup)
    }

    fn start(&mut self, now: Time, spec: ContainerSpec) -> Result<ContainerId, StartError> {
        if self.scripted.has_rule_for(&spec) { self.scripted.start(now, spec) } else { self.others.start(now, spec) }
    }

    fn signal(&mut self, now: Time, id: &ContainerId, signal: Signal) {
        self.owner_mut(id).signal(now, id, signal);
    }

    fn poll(&mut self, now: Time) -> Vec<RuntimeEvent> {
        let mut events = self.scripted.poll(now);
        events.extend(self.others.poll(now));
        events
    }

    fn next_wakeup(&self) -> Option<Time> {
        self.scripted.next_wakeup().into_iter().chain(self.others.next_wakeup()).min()
    }

    fn state(&self, id: &ContainerId) -> Option<ContainerState> {
        self.owner(id).state(id)
    }

    fn log(&self, id: &ContainerId) -> Option<Arc<ContainerLog>> {
        self.owner(id).log(id)
    }

    /// The larger of the two: each knows what its own containers wrote.
    fn volume_usage(&self, pod_uid: &str, volume: &str) -> Option<u64> {
        self.scripted.volume_usage(pod_uid, volume).max(self.others.volume_usage(pod_uid, volume))
    }

    fn storage_usage(&self, id: &ContainerId) -> Option<u64> {
        self.owner(id).storage_usage(id)
    }

    fn remove(&mut self, id: &ContainerId) {
        self.owner_mut(id).remove(id);
    }

    fn remove_pod(&mut self, pod_uid: &str) {
        self.scripted.remove_pod(pod_uid);
        self.others.remove_pod(pod_uid);
    }

    fn exec(&mut self, now: Time, id: &ContainerId, request: ExecRequest) -> Result<Session, SessionError> {
        self.owner_mut(id).exec(now, id, request)
    }

    fn attach(&mut self, now: Time, id: &ContainerId, stdin: bool) -> Result<Session, SessionError> {
        self.owner_mut(id).attach(now, id, stdin)
    }

    fn set_waker(&mut self, waker: Waker) {
        self.scripted.set_waker(Arc::clone(&waker));
        self.others.set_waker(waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted::{Behaviour, Ending, Matching};
    use std::time::Duration;

    #[test]
    fn each_container_belongs_to_one_of_the_two() {
        let second = Duration::from_secs(1);
        let scripted = ScriptedRuntime::new()
            .with(Matching::image("lab/*"), Behaviour::runs(second, Ending::exit(7)).says(second, "a"));
        let others = ScriptedRuntime::new()
            .with(Matching::all(), Behaviour::runs(2 * second, Ending::exit(8)).says(second, "b"));
        let mut mixed = MixedRuntime::new(scripted, Box::new(others));
        let spec =
            |image: &str| ContainerSpec { image: image.to_owned(), name: image.to_owned(), ..ContainerSpec::default() };
        let start = Time::from_secs(1_795_471_807);
        let ids = ["lab/agent:1", "busybox"].map(|image| mixed.start(start, spec(image)).expect("started"));
        assert_eq!(mixed.next_wakeup(), Some(start + second));
        let events = mixed.poll(start + 2 * second);
        let ends: Vec<_> = events.iter().map(|RuntimeEvent::Exited { id, exit }| (id, exit.exit_code)).collect();
        assert_eq!(ends, [(&ids[0], 7), (&ids[1], 8)]);
        let logs = ids.clone().map(|id| mixed.log(&id).expect("a log").last(1));
        assert_eq!(logs, [b"a\n".to_vec(), b"b\n".to_vec()]);
        mixed.remove_pod("");
        assert!(ids.iter().all(|id| mixed.state(id).is_none()));
    }
}
