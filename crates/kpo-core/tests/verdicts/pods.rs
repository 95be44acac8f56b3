//! Pods as they are seen, from a few words.

use kpo_core::Pod;
use kpo_core::pod::{
    Condition, Container, ContainerState, ContainerStatus, ManagedField, OwnedFields, OwnedStatus, Phase, Running,
    Terminated, Waiting,
};

/// A pod of one container `base`, as accepted: unbound.
pub(crate) fn fresh() -> P {
    let mut pod = Pod::default();
    pod.metadata.name = "task".into();
    pod.metadata.uid = "u1".into();
    pod.metadata.creation_timestamp = Some("2026-11-23T22:00:00Z".into());
    pod.spec.restart_policy = "Never".into();
    pod.spec.containers = vec![Container { name: "base".into(), ..Container::default() }];
    P(pod)
}

/// Bound, acknowledged by the kubelet, `base` about to be created.
pub(crate) fn creating() -> P {
    fresh().on("node-1").main("base", waiting("ContainerCreating"))
}

pub(crate) fn runs() -> P {
    creating().main("base", running()).phase(Phase::Running, "kubelet")
}

#[derive(Clone)]
pub(crate) struct P(pub(crate) Pod);

impl P {
    pub(crate) fn on(mut self, node: &str) -> Self {
        self.0.spec.node_name = Some(node.into());
        self
    }

    pub(crate) fn main(mut self, name: &str, status: ContainerStatus) -> Self {
        self.0.status.start_time = Some("2026-11-23T22:00:01Z".into());
        put(&mut self.0.status.container_statuses, name, status);
        self
    }

    pub(crate) fn init(mut self, name: &str, status: ContainerStatus) -> Self {
        if self.0.spec.init_containers.iter().all(|c| c.name != name) {
            self.0.spec.init_containers.push(Container { name: name.into(), ..Container::default() });
        }
        put(&mut self.0.status.init_container_statuses, name, status);
        self
    }

    pub(crate) fn sidecar(mut self, name: &str, status: ContainerStatus) -> Self {
        self = self.init(name, status);
        let sidecar = self.0.spec.init_containers.iter_mut().find(|c| c.name == name).unwrap();
        sidecar.restart_policy = Some("Always".into());
        self
    }

    pub(crate) fn phase(mut self, phase: Phase, writer: &str) -> Self {
        self.0.status.phase = phase;
        let fields = OwnedFields { status: Some(OwnedStatus { phase: Some(Default::default()) }) };
        self.0.metadata.managed_fields =
            vec![ManagedField { manager: writer.into(), subresource: "status".into(), fields }];
        self
    }

    pub(crate) fn failed(self) -> Self {
        self.phase(Phase::Failed, "kubelet")
    }

    pub(crate) fn because(mut self, reason: &str, message: &str) -> Self {
        self.0.status.reason = Some(reason.into());
        self.0.status.message = Some(message.into());
        self
    }

    pub(crate) fn condition(mut self, kind: &str, status: &str, reason: &str, message: &str) -> Self {
        self.0.status.conditions.retain(|c| c.kind != kind);
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        self.0.status.conditions.push(Condition {
            kind: kind.into(),
            status: status.into(),
            reason: some(reason),
            message: some(message),
        });
        self
    }

    pub(crate) fn target(self, reason: &str) -> Self {
        self.condition("DisruptionTarget", "True", reason, "said so")
    }

    pub(crate) fn deleting(mut self, grace: i64) -> Self {
        self.0.metadata.deletion_timestamp = Some("2026-11-23T22:10:00Z".into());
        self.0.metadata.deletion_grace_period_seconds = Some(grace);
        self
    }

    /// A kubelet's rejection: a fresh status.
    pub(crate) fn rejected(mut self, reason: &str, message: &str) -> Self {
        self.0.status = Default::default();
        self.failed().because(reason, message)
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Pod)) -> Self {
        change(&mut self.0);
        self
    }
}

pub(crate) fn put(statuses: &mut Vec<ContainerStatus>, name: &str, mut status: ContainerStatus) {
    status.name = name.into();
    statuses.retain(|old| old.name != name);
    statuses.push(status);
}

pub(crate) fn waiting(reason: &str) -> ContainerStatus {
    waiting_for(reason, None)
}

pub(crate) fn waiting_for(reason: &str, message: Option<&str>) -> ContainerStatus {
    let waiting = Waiting { reason: Some(reason.into()), message: message.map(str::to_owned) };
    status(ContainerState { waiting: Some(waiting), ..ContainerState::default() }, None)
}

pub(crate) fn running() -> ContainerStatus {
    let running = Running { started_at: Some("2026-11-23T22:00:02Z".into()) };
    status(ContainerState { running: Some(running), ..ContainerState::default() }, Some("containerd://1"))
}

pub(crate) fn ended(exit_code: i32, reason: &str) -> ContainerStatus {
    let terminated = Terminated {
        exit_code,
        reason: Some(reason.into()),
        started_at: Some("2026-11-23T22:00:02Z".into()),
        finished_at: Some("2026-11-23T22:12:00Z".into()),
        container_id: Some("containerd://1".into()),
        ..Terminated::default()
    };
    status(ContainerState { terminated: Some(terminated), ..ContainerState::default() }, Some("containerd://1"))
}

/// `The container could not be located when the pod was terminated`.
pub(crate) fn unlocated() -> ContainerStatus {
    let terminated =
        Terminated { exit_code: 137, reason: Some("ContainerStatusUnknown".into()), ..Terminated::default() };
    status(ContainerState { terminated: Some(terminated), ..ContainerState::default() }, None)
}

pub(crate) fn start_error() -> ContainerStatus {
    let mut status = ended(128, "StartError");
    let end = status.state.terminated.as_mut().unwrap();
    end.started_at = Some("1970-01-01T00:00:00Z".into());
    end.message = Some("exec: \"/no\": no such file".into());
    status
}

pub(crate) fn status(state: ContainerState, id: Option<&str>) -> ContainerStatus {
    ContainerStatus { state, container_id: id.map(str::to_owned), ..ContainerStatus::default() }
}
