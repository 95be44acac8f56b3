//! What an attempt is now.

use super::{Fact, Ledger, Situation};
use crate::classify;
use crate::marks;
use crate::pod::{Container, ContainerStatus, Phase, Pod};
use crate::spec::Template;
use crate::time::Time;
use std::time::Duration;

/// How long after the end of the task's own container the kubelet has to say of what it ended. It holds the phase and its reason (eviction,
/// critical pod, shutdown, deadline) back until all containers have stopped (`mergePodStatus` in `pkg/kubelet/status/status_manager.go`).
const SETTLE: Duration = Duration::from_secs(5);
/// How long beyond its grace a pod may be on its way out before its node counts as silent.
pub(crate) const OVERDUE: Duration = Duration::from_secs(60);

impl Ledger {
    /// What the attempt is at that moment.
    pub fn situation(&self, now: Time, template: &Template) -> Situation {
        let Some(pod) = &self.last else {
            return Situation::Unscheduled { message: None, scaling_up_since: None };
        };
        if self.has_ended(now, template) {
            return Situation::Ended;
        }
        if self.doubtful {
            return Situation::Doubtful;
        }
        if pod.is_terminating() || pod.status.phase == Phase::Unknown {
            let unreachable_since = self.unreachable_since(now, pod);
            return Situation::Terminating { node: self.node().map(str::to_owned), unreachable_since };
        }
        let Some(node) = self.node().map(str::to_owned) else { return self.unbound(pod) };
        if self.ran.contains_key(self.own(template)) {
            return Situation::Running { node };
        }
        self.starting(node, pod, template)
    }

    /// When the situation changes by time alone. `None`: it does not.
    pub fn turns_at(&self, now: Time, template: &Template) -> Option<Time> {
        let pod = self.last.as_ref()?;
        let settles = self.settles_at(template);
        let overdue = self.overdue_at(pod);
        let open = !self.has_ended(now, template);
        [settles, overdue].into_iter().flatten().filter(|at| open && *at > now).min()
    }

    /// Whether a verdict can be reached: the pod is terminal or gone, or its own container has ended for good.
    fn has_ended(&self, now: Time, template: &Template) -> bool {
        self.is_over() || self.settles_at(template).is_some_and(|at| at <= now)
    }

    /// Whether the pod is terminal or gone, or will never run: an unbound pod whose deletion was requested is not bound any more.
    /// Others' finalizers (Kueue's) may hold the object for long; they are not waited for.
    pub fn is_over(&self) -> bool {
        self.gone.is_some() || self.terminal.is_some() || (self.deletion().is_some() && !self.was_bound())
    }

    /// Since when it is over. `None`: it is not, or an unbound pod whose deletion was requested.
    pub fn over_at(&self) -> Option<Time> {
        let over = |entry: &super::Entry| matches!(entry.fact, Fact::Gone { .. });
        let gone = self.entries.iter().find(|entry| over(entry)).map(|entry| entry.at);
        let terminal = self.terminal.and_then(|entry| self.entries.get(entry as usize)).map(|entry| entry.at);
        terminal.into_iter().chain(gone).min()
    }

    /// When the pod, whose deletion was requested, should long be stopped. `None`: it was not requested, or the pod is unbound.
    pub fn overdue(&self) -> Option<Time> {
        self.overdue_at(self.last.as_ref()?)
    }

    /// Whether nothing of it was seen to start: its kubelet may be pulling an image.
    pub fn may_pull(&self) -> bool {
        self.ran.is_empty()
    }

    /// Whether it was ever seen on a node.
    pub fn was_bound(&self) -> bool {
        self.node().is_some() || self.entries.iter().any(|entry| matches!(entry.fact, Fact::Assigned { .. }))
    }

    /// Whether the task's own container has ended and is not started again, whatever else of the pod still runs.
    pub fn own_is_over(&self, template: &Template) -> bool {
        let Some(end) = self.own_end(template) else { return false };
        let pod = self.last.as_ref();
        // Of a pod that is no task's all containers count.
        if template.counted.is_empty() && pod.is_some_and(|pod| pod.others_run(self.own(template))) {
            return false;
        }
        let again = self.last.as_ref().is_some_and(|pod| may_restart(pod, self.own(template), end.exit_code));
        // A container that the runtime lost is started again under the same UID after a reboot.
        end.located && !end.is_lost() && !again
    }

    /// When the end of its own container is taken as told: at once, where it says of what it ended. An exit 0 does, also where
    /// `exit-zero-after-term` makes it a disruption: then only what was seen before it counts.
    pub(crate) fn settles_at(&self, template: &Template) -> Option<Time> {
        let end = self.own_end(template).filter(|_| self.own_is_over(template))?;
        let at = self.entries.get(end.entry as usize)?.at;
        let clear = end.exit_code == 0 || end.is_start_error() || end.reason.as_deref() == Some("OOMKilled");
        if clear {
            return Some(at);
        }
        // By a signal, or with nothing left that would hold the phase back: it comes for sure, within the grace of the others.
        let held = self.last.as_ref().is_some_and(|pod| others_run(pod, self.own(template)));
        let grace = Duration::from_secs(u64::from(template.grace_seconds));
        Some(at + SETTLE + if end.exit_code < 128 && held { Duration::ZERO } else { grace })
    }

    fn unbound(&self, pod: &Pod) -> Situation {
        let mut others: Vec<String> = pod.spec.scheduling_gates.iter().map(|gate| gate.name.clone()).collect();
        let gated = !others.is_empty();
        others.retain(|gate| gate != marks::GATE);
        if gated {
            let ours = others.len() < pod.spec.scheduling_gates.len();
            return Situation::Gated { others, ours };
        }
        let message = pod.unschedulable().and_then(|condition| condition.message.clone());
        Situation::Unscheduled { message, scaling_up_since: self.scaling_up_since(pod) }
    }

    fn scaling_up_since(&self, pod: &Pod) -> Option<Time> {
        let nominated = pod.status.nominated_node_name.as_deref().is_some_and(|node| !node.is_empty());
        let since = |entry: &super::Entry| matches!(entry.fact, Fact::Nominated { .. }).then_some(entry.at);
        let nominated = self.entries.iter().rev().find_map(since).filter(|_| nominated);
        nominated.or(self.scale_up.filter(|at| Some(*at) > self.no_scale_up))
    }

    fn starting(&self, node: String, pod: &Pod, template: &Template) -> Situation {
        let waiting = blocking(pod, self.own(template));
        let hindrance = waiting.and_then(classify::hindrance);
        let fatal = waiting.and_then(|status| classify::fatal(status, self.pull_failures));
        let waiting = waiting.and_then(|status| Some(format!("{}: {}", status.name, waiting_reason(status)?)));
        Situation::Starting { node, init: working(pod), waiting, progress: self.progress, hindrance, fatal }
    }

    /// The cluster's sentence on what hinders the start. `None`: it says none.
    pub fn hindrance(&self, template: &Template) -> Option<String> {
        let pod = self.last.as_ref()?;
        let waiting = blocking(pod, self.own(template)).and_then(|status| status.state.waiting.as_ref());
        let words = waiting.and_then(|waiting| waiting.message.clone().or_else(|| waiting.reason.clone()));
        let warned = || {
            self.entries.iter().rev().find_map(|entry| match &entry.fact {
                Fact::Told { reason, message, .. } if reason.starts_with("Failed") => Some(message.clone()),
                _ => None,
            })
        };
        let scheduler = || pod.unschedulable().and_then(|condition| condition.message.clone());
        let idle = |words: &String| matches!(words.as_str(), "ContainerCreating" | "PodInitializing");
        words.clone().filter(|words| !idle(words)).or_else(scheduler).or_else(warned).or(words)
    }

    /// Since when the node of a pod on its way out has been silent. `None`: it is not, or the pod is not on its way out.
    pub fn silent_since(&self, now: Time) -> Option<Time> {
        let pod = self.last.as_ref().filter(|pod| pod.is_terminating())?;
        self.unreachable_since(now, pod)
    }

    fn unreachable_since(&self, now: Time, pod: &Pod) -> Option<Time> {
        let silent =
            pod.status.conditions.iter().any(|c| c.kind == "Ready" && c.status == "False" && c.reason.is_none());
        let silent = silent || pod.status.phase == Phase::Unknown;
        let said = |entry: &super::Entry| match &entry.fact {
            Fact::Condition { kind, status, reason: None, .. } if kind == "Ready" && status == "False" => {
                Some(entry.at)
            }
            Fact::Phase { phase: Phase::Unknown, .. } => Some(entry.at),
            _ => None,
        };
        let said = self.entries.iter().rev().find_map(said).filter(|_| silent);
        said.or_else(|| self.overdue_at(pod).filter(|at| *at <= now))
    }

    /// When a pod on its way out should long be stopped, by this observer's clock. `None`: it is unbound, or nobody asked.
    fn overdue_at(&self, pod: &Pod) -> Option<Time> {
        self.node()?;
        let requested = |entry: &super::Entry| match entry.fact {
            Fact::DeletionRequested { grace_seconds, .. } => Some((entry.at, grace_seconds)),
            _ => None,
        };
        let (at, grace) = self.entries.iter().find_map(requested).filter(|_| pod.is_terminating())?;
        Some(at + Duration::from_secs(u64::try_from(grace).unwrap_or(0)) + OVERDUE)
    }
}

/// Whether the kubelet starts that container again after such an end: the pod's policy, the container's own, or a rule of it.
fn may_restart(pod: &Pod, container: &str, exit_code: i32) -> bool {
    let spec = pod.spec.containers.iter().find(|c| c.name == container);
    let ruled = spec.is_some_and(|c: &Container| !c.restart_policy_rules.is_empty());
    let policy = spec.and_then(|c| c.restart_policy.as_deref()).unwrap_or(&pod.spec.restart_policy);
    match policy {
        "Always" => true,
        "OnFailure" => exit_code != 0 || ruled,
        _ => ruled,
    }
}

/// Whether another main container still runs.
fn others_run(pod: &Pod, own: &str) -> bool {
    pod.status.container_statuses.iter().any(|status| status.name != own && status.state.running.is_some())
}

/// The init container that does its part now: sidecars run beside it.
fn working(pod: &Pod) -> Option<String> {
    let sidecar = |name: &str| pod.spec.init_containers.iter().any(|c| c.name == name && c.is_sidecar());
    let runs = |status: &&ContainerStatus| status.state.running.is_some() && !sidecar(&status.name);
    pod.status.init_container_statuses.iter().find(runs).map(|status| status.name.clone())
}

/// The container that the start waits for: the first init container that has not done its part, else its own.
fn blocking<'a>(pod: &'a Pod, own: &str) -> Option<&'a ContainerStatus> {
    let waits = |status: &&ContainerStatus| status.state.waiting.is_some();
    let init = pod.status.init_container_statuses.iter().find(waits);
    init.or_else(|| pod.status_of(own).filter(waits))
}

fn waiting_reason(status: &ContainerStatus) -> Option<&str> {
    status.state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref())
}
