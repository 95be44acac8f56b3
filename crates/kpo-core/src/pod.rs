//! The part of a pod that decisions read, in the API's own field names.
//!
//! A [`Pod`] is what one answer or watch event showed. The engine deserialises it from the API server's JSON
//! and hands it in as an [`Input`](crate::Input); fields that no decision reads are dropped on the way.

use crate::time::Time;
use serde::de::{Deserializer, IgnoredAny};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A pod as seen once (`v1.Pod`, reduced).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Pod {
    /// Names, versions and kpo's own marks.
    pub metadata: Metadata,
    /// Where it runs, and what of its template decisions need.
    pub spec: PodSpec,
    /// What the cluster says of it.
    #[serde(deserialize_with = "null_is_default")]
    pub status: PodStatus,
}

/// `metav1.ObjectMeta`, reduced. Labels and annotations other than kpo's own are dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metadata {
    /// The pod's name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its identity: names are reused, UIDs never.
    pub uid: String,
    /// Opaque version of this sight.
    pub resource_version: String,
    /// When the API server accepted it (RFC 3339, seconds).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creation_timestamp: Option<String>,
    /// Set once deletion was requested: request time *plus grace*. `None`: nobody asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<String>,
    /// The grace of that request in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deletion_grace_period_seconds: Option<i64>,
    /// kpo's labels (`kpo.rs/…`).
    #[serde(deserialize_with = "own_entries", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// kpo's annotations (`kpo.rs/…`) but the manifest, and `kubectl.kubernetes.io/default-container`.
    #[serde(deserialize_with = "own_entries", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Finalizers, all of them.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub finalizers: Vec<String>,
    /// Who wrote which part of the status.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub managed_fields: Vec<ManagedField>,
}

/// One entry of `managedFields`, reduced to what proof needs: does this manager own `status.phase`?
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ManagedField {
    /// The field manager's name (`kubelet`, `kube-controller-manager`, …).
    pub manager: String,
    /// `status` for status writers.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
    /// Whether `f:status.f:phase` is among its fields.
    #[serde(rename = "fieldsV1")]
    pub fields: OwnedFields,
}

impl ManagedField {
    /// Whether this manager owns `status.phase`.
    pub fn owns_phase(&self) -> bool {
        self.fields.status.as_ref().is_some_and(|status| status.phase.is_some())
    }
}

/// What a manager owns, as far as decisions ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnedFields {
    /// The fields of the status.
    #[serde(rename = "f:status", skip_serializing_if = "Option::is_none")]
    pub status: Option<OwnedStatus>,
}

/// What a manager owns of the status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct OwnedStatus {
    /// Present if the manager owns `status.phase`.
    #[serde(rename = "f:phase", deserialize_with = "presence", skip_serializing_if = "Option::is_none")]
    pub phase: Option<Empty>,
}

/// `{}`: presence is all that is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Empty {}

/// `v1.PodSpec`, reduced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    /// The node it is bound to. `None`: to none yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// Its main containers.
    #[serde(deserialize_with = "null_is_default")]
    pub containers: Vec<Container>,
    /// Its init containers, native sidecars among them.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<Container>,
    /// Ephemeral (debug) containers: they count for the limit of a termination message.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub ephemeral_containers: Vec<Container>,
    /// What holds it before the scheduler looks at it.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub scheduling_gates: Vec<SchedulingGate>,
    /// `Never`, `OnFailure` or `Always`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub restart_policy: String,
    /// Seconds it may be active on its node. `None`: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_deadline_seconds: Option<i64>,
    /// Seconds between TERM and KILL. `None`: the API server's default, 30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub termination_grace_period_seconds: Option<i64>,
    /// Priority as an integer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
}

/// A container of a spec, reduced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Container {
    /// Its name, unique in the pod.
    pub name: String,
    /// The image it asks for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// `Always` on an init container makes it a native sidecar (KEP-753); elsewhere it overrides the pod's (KEP-5307).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restart_policy: Option<String>,
    /// Rules by which some exit codes start it again in a pod whose policy is Never (KEP-5307, on since 1.35).
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub restart_policy_rules: Vec<Empty>,
}

impl Container {
    /// Whether, as an init container, it is a native sidecar: it runs beside the program instead of before it.
    pub fn is_sidecar(&self) -> bool {
        self.restart_policy.as_deref() == Some("Always")
    }
}

/// A scheduling gate (KEP-3521).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct SchedulingGate {
    /// Its name, such as `kpo.rs/backoff`.
    pub name: String,
}

/// `v1.PodStatus`, reduced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    /// Pending, Running, Succeeded, Failed, or the obsolete Unknown.
    pub phase: Phase,
    /// Why it is in that phase (`Evicted`, `OutOfcpu`, `DeadlineExceeded`, …).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The node that the scheduler makes room on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nominated_node_name: Option<String>,
    /// When the kubelet acknowledged it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// Its conditions.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Its main containers.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub container_statuses: Vec<ContainerStatus>,
    /// Its init containers, native sidecars among them.
    #[serde(deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// The phase of a pod. Absent and unknown values read as `Pending`'s neighbour [`Phase::Unknown`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Accepted; not all containers have been started.
    #[default]
    Pending,
    /// Bound, and at least one container was started.
    Running,
    /// All containers ended with 0.
    Succeeded,
    /// All containers ended, at least one in failure; or the pod was refused or taken away.
    Failed,
    /// Obsolete (`NodeLost`), or a phase that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Phase {
    /// Whether it never changes again, but for what a restarted kubelet may rewrite.
    pub fn is_terminal(self) -> bool {
        matches!(self, Phase::Succeeded | Phase::Failed)
    }
}

/// `v1.PodCondition`, reduced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// `PodScheduled`, `DisruptionTarget`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// `v1.ContainerStatus`, reduced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerStatus {
    /// The container.
    pub name: String,
    /// How often it was started again.
    pub restart_count: i64,
    /// The runtime's handle. `None` or empty: never created, as far as the kubelet reports.
    #[serde(rename = "containerID", skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    /// Its state.
    #[serde(deserialize_with = "null_is_default")]
    pub state: ContainerState,
    /// The state before the last restart.
    #[serde(deserialize_with = "null_is_default")]
    pub last_state: ContainerState,
}

impl ContainerStatus {
    /// Whether its program has failed: it ended with another code than 0, and its kubelet could tell of what.
    pub fn has_failed(&self) -> bool {
        self.state.terminated.as_ref().is_some_and(|end| end.exit_code != 0 && end.is_located())
    }

    /// How it was last, where its kubelet has not found it after a restart and its state waits for it to be made again, which it never is in a pod that has
    /// ended (`convertToAPIContainerStatuses`; seen of 1.36, where the kubelet failed the pod without another word of its container).
    pub fn lost(&self) -> Option<&Terminated> {
        let waits = self.state.waiting.is_some();
        self.last_state.terminated.as_ref().filter(|end| waits && !end.is_located())
    }
}

/// `v1.ContainerState`: at most one of the three is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    /// Not running yet, with the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// Running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    /// Ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated: Option<Terminated>,
}

/// `v1.ContainerStateWaiting`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Waiting {
    /// `ContainerCreating`, `PodInitializing`, `ImagePullBackOff`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// `v1.ContainerStateRunning`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Running {
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
}

/// `v1.ContainerStateTerminated`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Terminated {
    /// Exit code, or 128 + signal as the runtime reports it.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `ContainerStatusUnknown`, `StartError`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The termination message. Kept in the ledger, never in an error: it may hold a result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it was started; the epoch (1970) where it never was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
    /// The runtime's handle.
    #[serde(rename = "containerID", skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
}

impl Terminated {
    /// Whether the runtime told it. Not so: the kubelet could not locate the container, and the code is made up.
    pub fn is_located(&self) -> bool {
        self.reason.as_deref() != Some("ContainerStatusUnknown")
    }
}

impl Pod {
    /// The condition of that type, if it is `True`.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|c| c.kind == kind && c.status == "True")
    }

    /// Statuses of all containers: init first, then main.
    pub fn statuses(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.status.init_container_statuses.iter().chain(&self.status.container_statuses)
    }

    /// The status of that container, if the kubelet reported one.
    pub fn status_of(&self, container: &str) -> Option<&ContainerStatus> {
        self.statuses().find(|status| status.name == container)
    }

    /// Whether a main container beside this one has not ended yet, as far as its kubelet reported.
    pub fn others_run(&self, own: &str) -> bool {
        let open = |status: &&ContainerStatus| status.name != own && status.state.terminated.is_none();
        !self.status.phase.is_terminal() && self.status.container_statuses.iter().any(|status| open(&status))
    }

    /// The managers that own `status.phase`. None: nobody but the API server's default wrote it, or it is not told.
    pub fn phase_writers(&self) -> impl Iterator<Item = &str> {
        self.metadata.managed_fields.iter().filter(|field| field.owns_phase()).map(|field| field.manager.as_str())
    }

    /// The first of [`Pod::phase_writers`].
    pub fn phase_writer(&self) -> Option<&str> {
        self.phase_writers().next()
    }

    /// The container that is meant when none is named: the annotation `kubectl.kubernetes.io/default-container`, else `base`
    /// (Airflow's name for it), else the first. `None`: it has no containers.
    pub fn default_container(&self) -> Option<&str> {
        let named = |name: &str| self.spec.containers.iter().map(|c| c.name.as_str()).find(|c| *c == name);
        let annotated = self.annotation(crate::marks::DEFAULT_CONTAINER).and_then(named);
        annotated.or_else(|| named("base")).or_else(|| self.spec.containers.first().map(|c| c.name.as_str()))
    }

    /// Whether a kubelet has said anything of it yet. Until it has, a first sight is as good as one from its creation:
    /// no earlier report can have been missed.
    pub fn is_reported(&self) -> bool {
        self.status.start_time.is_some() || self.status.phase != Phase::Pending || self.statuses().next().is_some()
    }

    /// Whether a watch's DELETED with this object means that it is gone, and not only that it stopped matching the selector.
    ///
    /// The registry removes an object only with a `deletionTimestamp` and a grace of 0 (BeforeDelete in
    /// `k8s.io/apiserver/pkg/registry/rest/delete.go`; all recordings show it, forced deletions and unbound pods included).
    /// With a finalizer it cannot be told, since the version that was stored last still carries it (`deleteWithoutFinalizers` in
    /// `pkg/registry/generic/registry/store.go`): then it counts as gone if nothing can run in it any more.
    pub fn is_last_version(&self) -> bool {
        let grace = self.metadata.deletion_grace_period_seconds.unwrap_or(0);
        let idle = self.status.phase.is_terminal() || self.spec.node_name.is_none();
        self.is_terminating() && grace == 0 && (idle || self.metadata.finalizers.is_empty())
    }

    /// The scheduler's word that it finds no node.
    pub fn unschedulable(&self) -> Option<&Condition> {
        let is = |c: &&Condition| {
            c.kind == "PodScheduled" && c.status == "False" && c.reason.as_deref() == Some("Unschedulable")
        };
        self.status.conditions.iter().find(is)
    }

    /// Whether deletion was requested.
    pub fn is_terminating(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// When deletion was requested, by the API server's clock: its timestamp lies ahead by the grace. `None`: it was not, or was
    /// shortened since.
    pub fn deletion_requested_at(&self) -> Option<Time> {
        let at = Time::parse(self.metadata.deletion_timestamp.as_deref()?)?;
        let grace = u64::try_from(self.metadata.deletion_grace_period_seconds?).ok().filter(|grace| *grace > 0)?;
        Some(at - std::time::Duration::from_secs(grace))
    }

    /// An annotation of kpo's own.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.get(key).map(String::as_str)
    }
}

/// A core/v1 Event about a pod, reduced: explanation, and at most a bar to *never*, never a proof.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterEvent {
    /// `Normal` or `Warning`.
    #[serde(rename = "type")]
    pub kind: String,
    /// One word: `Preempted`, `Started`, `TriggeredScaleUp`, …
    pub reason: String,
    /// A sentence.
    #[serde(deserialize_with = "null_is_default")]
    pub message: String,
    /// Who reports it (`reportingComponent`).
    #[serde(rename = "reportingComponent", deserialize_with = "null_is_default")]
    pub reporter: String,
    /// The object that it is about.
    pub involved_object: EventObject,
    /// The other party, such as the preemptor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub related: Option<EventObject>,
    /// Who reports it, where `reportingComponent` is empty.
    #[serde(deserialize_with = "null_is_default")]
    pub source: EventSource,
    /// When (old form).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_timestamp: Option<String>,
    /// When (new form).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_time: Option<String>,
}

impl ClusterEvent {
    /// Who reports it.
    pub fn reporter(&self) -> &str {
        if self.reporter.is_empty() { &self.source.component } else { &self.reporter }
    }

    /// Whether a kubelet reports it.
    pub fn is_by_kubelet(&self) -> bool {
        self.reporter() == "kubelet" || self.source.component == "kubelet"
    }

    /// When it was last seen. `None`: it does not say.
    pub fn time(&self) -> Option<Time> {
        let series = self.last_timestamp.as_deref().and_then(Time::parse);
        series.or_else(|| self.event_time.as_deref().and_then(Time::parse))
    }

    /// The container that it is about; empty where it does not say.
    pub fn container(&self) -> &str {
        let path = &self.involved_object.field_path;
        path.split_once('{').and_then(|(_, name)| name.strip_suffix('}')).unwrap_or_default()
    }
}

/// `v1.EventSource`, reduced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct EventSource {
    /// The component.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub component: String,
}

/// `v1.ObjectReference`, reduced.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EventObject {
    /// `Pod`, `Node`, …
    pub kind: String,
    /// Its namespace; empty for cluster-wide objects.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID; empty where the reporter did not say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// `spec.containers{name}` where it is about one container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field_path: String,
}

fn null_is_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

fn presence<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Empty>, D::Error> {
    IgnoredAny::deserialize(from).map(|_| Some(Empty {}))
}

fn own_entries<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let mut entries = Option::<BTreeMap<String, String>>::deserialize(from)?.unwrap_or_default();
    entries.retain(|key, _| is_own(key));
    Ok(entries)
}

fn is_own(key: &str) -> bool {
    (key.starts_with("kpo.rs/") && key != crate::marks::MANIFEST) || key == crate::marks::DEFAULT_CONTAINER
}
