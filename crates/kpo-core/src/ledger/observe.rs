//! From sights of the pod to facts.

use super::note::sentence;
use super::{Absence, End, Fact, Ledger, Sign};
use crate::contract::Sight;
use crate::pod::{Condition, ContainerState, ContainerStatus, ManagedField, Phase, Pod, Terminated};
use crate::time::Time;

/// Waiting reasons that are no progress: a try failed, or the next is waited for
/// (`pkg/kubelet/images/types.go`, `pkg/kubelet/container/sync_result.go`, `pkg/kubelet/kuberuntime`).
const ERRORS: [&str; 14] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "ImageInspectError",
    "ErrImageNeverPull",
    "RegistryUnavailable",
    "InvalidImageName",
    "SignatureValidationFailed",
    "CreateContainerConfigError",
    "CreateContainerError",
    "PreCreateHookError",
    "PreStartHookError",
    "PostStartHookError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// A termination message that is shorter is whole, unless a pod has more than twelve containers.
const LEAST_CUT: usize = 1024;

/// Field managers of distributions in which one binary is all components, the kubelet and the controllers under one name
/// (k3s, microk8s' kubelite, MicroShift).
const SINGLE_BINARIES: [&str; 3] = ["k3s", "kubelite", "microshift"];

/// Whether a kubelet may go by that name: by its own, or by a single binary's.
pub(crate) fn may_be_kubelet(manager: &str) -> bool {
    manager == "kubelet" || is_single_binary(manager)
}

/// Whether that is the name of a binary that is all components.
pub(crate) fn is_single_binary(manager: &str) -> bool {
    SINGLE_BINARIES.contains(&manager)
}

impl Ledger {
    /// The answer to our create: from here on its whole life is covered, if no kubelet had reported anything yet.
    pub fn created(&mut self, now: Time, pod: &Pod) {
        self.observe(now, Sight::Present, pod);
    }

    /// Takes a sight of the pod in. Returns whether anything new was learnt. A sight of another UID teaches nothing;
    /// one that is older than the last (a read overtaken by the watch) can only add signs of life.
    pub fn observe(&mut self, now: Time, sight: Sight, pod: &Pod) -> bool {
        if self.uid().is_some_and(|uid| uid != pod.metadata.uid) {
            return false;
        }
        let before = self.mark();
        self.signs_of_life(now, pod);
        if !self.is_overtaken(sight, pod) {
            self.first_seen(now, pod);
            let last = self.last.take().unwrap_or_default();
            let known = &last;
            self.placement(now, known, pod);
            self.conditions(now, known, pod);
            self.requested(now, known, pod);
            self.containers(now, known, pod);
            self.phase(now, known, pod);
            self.last = Some(slim(pod));
            self.presence(now, sight, pod);
        }
        self.mark() != before
    }

    /// What tells whether something was learnt.
    fn mark(&self) -> (usize, usize, bool, bool, Time, u32) {
        (self.entries.len(), self.ends.len(), self.doubtful, self.gone.is_some(), self.progress, self.pull_failures)
    }

    /// Whether a newer sight was taken in before. Versions of one object grow (KEP-5504; always so with etcd).
    fn is_overtaken(&self, sight: Sight, pod: &Pod) -> bool {
        let version = |pod: &Pod| pod.metadata.resource_version.parse::<u128>().ok();
        let newer = |last: &Pod| matches!((version(last), version(pod)), (Some(last), Some(this)) if last > this);
        let final_one = sight == Sight::Deleted && pod.is_last_version();
        self.gone == Some(Absence::Observed) || (!final_one && self.last.as_ref().is_some_and(newer))
    }

    fn first_seen(&mut self, now: Time, pod: &Pod) {
        if self.last.is_none() {
            // In an open gap too: whether anything is missed of it until the gap ends is said then.
            self.gapless = !pod.is_reported();
            self.progress = now;
            self.keep(now, Fact::FirstSeen { from_creation: self.gapless });
        }
    }

    fn placement(&mut self, now: Time, known: &Pod, pod: &Pod) {
        let gates = |pod: &Pod| pod.spec.scheduling_gates.iter().map(|gate| gate.name.clone()).collect::<Vec<_>>();
        if gates(known) != gates(pod) {
            self.note(now, Fact::Gated { gates: gates(pod) });
        }
        let unschedulable = |pod: &Pod| pod.unschedulable().and_then(|c| c.message.clone());
        if let Some(message) = unschedulable(pod).filter(|_| unschedulable(known) != unschedulable(pod)) {
            self.note(now, Fact::Unschedulable { message: sentence(&message) });
        }
        if let Some(node) = added(&known.status.nominated_node_name, &pod.status.nominated_node_name) {
            self.note(now, Fact::Nominated { node });
        }
        if let Some(node) = added(&known.spec.node_name, &pod.spec.node_name) {
            self.progress = now;
            self.keep(now, Fact::Assigned { node });
        }
        if known.status.start_time.is_none() && pod.status.start_time.is_some() {
            self.progress = now;
        }
    }

    fn conditions(&mut self, now: Time, known: &Pod, pod: &Pod) {
        for condition in &pod.status.conditions {
            let last = known.status.conditions.iter().find(|c| c.kind == condition.kind);
            if last != Some(condition) && matters(condition, last) {
                if condition.kind == "PodReadyToStartContainers" && condition.status == "True" {
                    self.progress = now;
                }
                self.note(
                    now,
                    Fact::Condition {
                        kind: condition.kind.clone(),
                        status: condition.status.clone(),
                        reason: condition.reason.clone(),
                        message: condition.message.as_deref().map(sentence),
                    },
                );
            }
        }
    }

    fn requested(&mut self, now: Time, known: &Pod, pod: &Pod) {
        if pod.is_terminating() && !known.is_terminating() {
            let grace_seconds = pod.metadata.deletion_grace_period_seconds.unwrap_or(0);
            self.keep(now, Fact::DeletionRequested { grace_seconds, ours: self.our_delete });
        }
    }

    /// Whatever shows that a container runs or has run, whether the sight is old or new.
    fn signs_of_life(&mut self, now: Time, pod: &Pod) {
        for status in pod.statuses() {
            if let Some(sign) = sign_of_life(status) {
                self.has_run(now, &status.name, sign);
            }
        }
    }

    /// Notes a container's first sign of life.
    pub(super) fn has_run(&mut self, now: Time, container: &str, sign: Sign) {
        if !self.ran.contains_key(container) {
            let entry = self.keep(now, Fact::ContainerRan { container: container.to_owned(), sign });
            self.ran.insert(container.to_owned(), entry);
        }
    }

    fn containers(&mut self, now: Time, known: &Pod, pod: &Pod) {
        for status in pod.statuses() {
            if let Some(end) = status.lost().filter(|_| pod.status.phase.is_terminal()) {
                self.ended(now, status, end);
                continue;
            }
            let last = known.status_of(&status.name);
            let state = last.map(|last| &last.state);
            if state == Some(&status.state) {
                continue;
            }
            match &status.state {
                ContainerState { running: Some(_), .. } => self.runs(now, status),
                ContainerState { terminated: Some(end), .. } => self.ended(now, status, end),
                ContainerState { waiting: Some(_), .. } => self.waits(now, state, status),
                _ => {}
            }
        }
    }

    fn runs(&mut self, now: Time, status: &ContainerStatus) {
        self.gets_on(now, status);
        self.pull_failures = 0;
        self.ends.remove(&status.name);
    }

    fn waits(&mut self, now: Time, last: Option<&ContainerState>, status: &ContainerStatus) {
        let reason =
            |state: Option<&ContainerState>| state.and_then(|s| s.waiting.as_ref()).and_then(|w| w.reason.clone());
        let (was, is) = (reason(last), reason(Some(&status.state)));
        if was == is && last.is_some_and(|state| state.waiting.is_some()) {
            return;
        }
        let error = is.as_deref().is_some_and(|reason| ERRORS.contains(&reason));
        let again = was.as_deref().is_some_and(|reason| ERRORS.contains(&reason));
        if is.as_deref() == Some("ErrImagePull") || (is.as_deref() == Some("ImagePullBackOff") && !again) {
            self.pull_failures += 1;
        } else if !error && !again {
            self.progress = now;
        }
        let message = status.state.waiting.as_ref().and_then(|waiting| waiting.message.as_deref()).map(sentence);
        let fact = Fact::ContainerWaiting { container: status.name.clone(), reason: is, message };
        if !self.knows(&fact) {
            self.note(now, fact);
        }
    }

    /// What a container does for the first time is progress. One that is started again and again gets nowhere.
    fn gets_on(&mut self, now: Time, status: &ContainerStatus) {
        if status.restart_count == 0 {
            self.progress = now;
        }
    }

    /// The first end stands: a restarted kubelet may lose or rewrite it. Only a container that was started again ends again.
    fn ended(&mut self, now: Time, status: &ContainerStatus, end: &Terminated) {
        let located = end.is_located();
        let stands = |old: &End| (old.located || !located) && old.restarts >= status.restart_count;
        if self.ends.get(&status.name).is_some_and(stands) {
            return;
        }
        self.gets_on(now, status);
        let fact = Fact::ContainerEnded {
            container: status.name.clone(),
            exit_code: end.exit_code,
            reason: end.reason.clone(),
        };
        let again = status.restart_count > 0 || self.ends.contains_key(&status.name);
        let entry = if again { self.note(now, fact) } else { self.keep(now, fact) };
        let end = End {
            entry,
            exit_code: end.exit_code,
            reason: end.reason.clone(),
            located,
            finished: end.finished_at.as_deref().and_then(Time::parse),
            committed: committed(end.message.as_deref().unwrap_or_default()),
            restarts: status.restart_count,
        };
        self.ends.insert(status.name.clone(), end);
    }

    fn phase(&mut self, now: Time, known: &Pod, pod: &Pod) {
        let changed = known.status.phase != pod.status.phase || known.status.reason != pod.status.reason;
        if !changed || (pod.status.phase == Phase::Pending && pod.status.reason.is_none()) {
            return;
        }
        let fact = Fact::Phase {
            phase: pod.status.phase,
            reason: pod.status.reason.clone(),
            message: pod.status.message.as_deref().map(sentence),
            writer: pod.phase_writer().map(str::to_owned),
            kubelet: self.wrote_a_kubelet(known, pod),
        };
        if pod.status.phase.is_terminal() && self.terminal.is_none() {
            self.terminal = Some(self.keep(now, fact));
        } else {
            self.note(now, fact);
        }
    }

    /// Whether a kubelet wrote the phase. Under a single binary's name it did if the same write ended a container: controllers
    /// write the phase over the old statuses. A sight after a gap, or the first, may show several writes at once.
    fn wrote_a_kubelet(&self, known: &Pod, pod: &Pod) -> bool {
        let mut writers = pod.phase_writers().peekable();
        if writers.peek().is_none() {
            return false;
        }
        let one_write = self.last_is_neighbour() && !known.metadata.uid.is_empty();
        let was_over = |name: &str| known.status_of(name).is_some_and(|status| status.state.terminated.is_some());
        let ended = || pod.statuses().any(|status| status.state.terminated.is_some() && !was_over(&status.name));
        writers.all(|writer| writer == "kubelet" || (is_single_binary(writer) && one_write && ended()))
    }

    fn last_is_neighbour(&self) -> bool {
        !self.in_gap && !self.doubtful && !self.after_gap
    }

    fn presence(&mut self, now: Time, sight: Sight, pod: &Pod) {
        self.after_gap = false;
        match sight {
            Sight::Present => {
                // Between the DELETED and the read nobody watched it.
                self.gapless &= !self.doubtful;
                self.doubtful = false;
            }
            Sight::Deleted if pod.is_last_version() => self.gone(now, Absence::Observed),
            Sight::Deleted => self.doubtful = true,
        }
    }
}

/// Whether a line of a termination message begins with `committed`. `None`: it is so long that its beginning may have been cut off (each container of a pod has
/// 12 KiB divided by their number, and 4 KiB at most: `pkg/kubelet/container/runtime.go`, `MaxPodTerminationMessageLogLength`).
fn committed(message: &str) -> Option<bool> {
    let says = message.lines().any(|line| line.trim_start().starts_with("committed"));
    (says || message.len() < LEAST_CUT).then_some(says)
}

/// A value that was not there before, or another.
fn added(known: &Option<String>, now: &Option<String>) -> Option<String> {
    now.clone().filter(|value| !value.is_empty() && known.as_ref() != Some(value))
}

/// Whether decisions or people ask for that change of a condition.
fn matters(condition: &Condition, last: Option<&Condition>) -> bool {
    // The node controller's Ready=False has no reason; a kubelet's always has (recording `unreachable_then_back`).
    let silenced = |c: &Condition| c.status == "False" && c.reason.is_none();
    match condition.kind.as_str() {
        "DisruptionTarget" | "TerminationTarget" => condition.status == "True" || last.is_some(),
        "PodReadyToStartContainers" => condition.status == "True" && last.is_none_or(|c| c.status != "True"),
        "Ready" => silenced(condition) || last.is_some_and(silenced),
        _ => false,
    }
}

/// What of that status shows that the container runs or has run. `None`: nothing.
fn sign_of_life(status: &ContainerStatus) -> Option<Sign> {
    let signs = [
        (status.state.running.is_some(), Sign::Running),
        (starts(&status.state) || starts(&status.last_state), Sign::StartedAt),
        (has_id(status.container_id.as_deref(), &status.state), Sign::ContainerId),
        (has_id(None, &status.last_state), Sign::ContainerId),
        (status.last_state != ContainerState::default(), Sign::LastState),
        (status.restart_count > 0, Sign::RestartCount),
        (is_located(&status.state), Sign::Terminated),
    ];
    signs.into_iter().find(|(seen, _)| *seen).map(|(_, sign)| sign)
}

/// Whether it has a start time. The epoch is none (StartError), and so is Go's zero time; what cannot be read is one.
fn starts(state: &ContainerState) -> bool {
    let running = state.running.as_ref().and_then(|running| running.started_at.as_deref());
    let terminated = state.terminated.as_ref().and_then(|end| end.started_at.as_deref());
    let real = |text: &str| !text.is_empty() && Time::parse(text).is_none_or(|time| time.0 > 0);
    running.is_some_and(real) || terminated.is_some_and(real)
}

fn has_id(id: Option<&str>, state: &ContainerState) -> bool {
    let ended = state.terminated.as_ref().and_then(|end| end.container_id.as_deref());
    id.is_some_and(|id| !id.is_empty()) || ended.is_some_and(|id| !id.is_empty())
}

fn is_located(state: &ContainerState) -> bool {
    state.terminated.as_ref().is_some_and(Terminated::is_located)
}

/// The sight without what was evaluated already and may be large: other managers' fields, the state carried for other observers.
fn slim(pod: &Pod) -> Pod {
    let mut slim = pod.clone();
    slim.metadata.managed_fields.retain(ManagedField::owns_phase);
    slim.metadata.managed_fields.shrink_to_fit();
    slim.metadata.annotations.remove(crate::marks::STATE);
    slim
}
