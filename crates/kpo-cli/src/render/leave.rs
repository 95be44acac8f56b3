//! What is said where this process leaves and the task goes on.

use super::story::Teller;
use super::words::{clause, program, whole};
use kpo_core::{Because, Time, marks};
use std::time::Duration;

/// How the process leaves.
pub(crate) struct Leaving<'a> {
    /// The task's namespace.
    pub(crate) namespace: &'a str,
    /// What is appended to a command that goes on with it.
    pub(crate) again: &'a str,
    /// Whether kpo watched over it, and did not only follow.
    pub(crate) watched_over: bool,
    /// Whether a signal before asked to cancel it.
    pub(crate) cancelling: bool,
}

impl Teller {
    /// What is left behind, and how to go on with it: a line, and more below it.
    pub(crate) fn left(&self, how: &Leaving<'_>, now: Time) -> Vec<String> {
        if self.in_lab {
            return vec![match self.pod() {
                Some(pod) => format!("left: the lab ends with kpo, and pod {pod} with it"),
                None => "left: the lab ends with kpo; no pod was created".to_owned(),
            }];
        }
        match self.pod() {
            None => self.left_without_pod(how),
            Some(pod) if !how.watched_over || self.follows => self.left_by_follower(pod, how),
            Some(pod) => self.detached(pod, how, now),
        }
    }

    fn left_without_pod(&self, how: &Leaving<'_>) -> Vec<String> {
        match self.left_while() {
            Some(Because::Admission { .. }) => vec!["left: no pod was created, and nothing is left behind".to_owned()],
            _ => vec![
                format!("left: the API server has yet to answer the create: pod {} may come to be", self.first_pod()),
                format!("  If it does: {}", self.command("attach", " --take-over", how)),
            ],
        }
    }

    fn left_by_follower(&self, pod: &str, how: &Leaving<'_>) -> Vec<String> {
        let place = format!("left: pod {pod} in namespace {}", how.namespace);
        if self.awaits_observer() {
            let take_over = self.command("attach", " --take-over", how);
            return vec![
                format!("{place} has ended, and the attempt after it is not made yet"),
                format!("  Its observer makes it. If nobody watches over it any more: {take_over}"),
            ];
        }
        let cancel = self.command("cancel", "", how);
        match self.has_ended() {
            true => vec![format!("{place} has ended; it was only followed here")],
            false => vec![
                format!("{place} {}", self.goes_on()),
                format!("  It was only followed here. To cancel it: {cancel}"),
            ],
        }
    }

    fn detached(&self, pod: &str, how: &Leaving<'_>, now: Time) -> Vec<String> {
        let (namespace, attach) = (how.namespace, self.command("attach", " --take-over", how));
        match self.left_while() {
            Some(Because::Backoff | Because::Predecessor) if self.is_made() => vec![
                format!("detached: pod {pod} in namespace {namespace} is held by the gate {}", marks::GATE),
                format!("  It starts only after: {attach}"),
            ],
            Some(Because::Backoff | Because::Predecessor) => vec![
                format!("detached: the attempt after pod {pod} in namespace {namespace} is not made yet"),
                format!("  As long as that pod is there, this makes it: {attach}"),
            ],
            Some(Because::Completion) => vec![
                format!("detached: pod {pod} in namespace {namespace} has ended, and is not cleaned up"),
                format!("  That is done by: {attach}"),
            ],
            on_its_way => {
                let leaves = matches!(on_its_way, Some(Because::Termination { .. } | Because::Unreachable { .. }));
                let end = if leaves { String::new() } else { format!("; {}", self.end_by_itself(now)) };
                vec![
                    format!("detached: pod {pod} in namespace {namespace} {}{end}", self.goes_on()),
                    format!("  Nobody watches over it now: {attach}"),
                ]
            }
        }
    }

    /// The second signal: the same, at once.
    pub(crate) fn left_at_once(&self, how: &Leaving<'_>) -> String {
        let pod = self
            .pod()
            .map_or_else(|| format!("pod {}, if it was created,", self.first_pod()), |pod| format!("pod {pod}"));
        if self.in_lab {
            return format!("left at once: the lab ends with kpo, and {pod} with it");
        }
        let place = format!("{pod} in namespace {}", how.namespace);
        if self.deleting {
            return format!("left at once: {place} is being deleted, and has not ended");
        }
        if how.cancelling && how.watched_over && !self.follows {
            let cancel = self.command("cancel", "", how);
            return format!("left at once: {place} may be left behind: {cancel}");
        }
        format!("left at once: {place} is left as it is: {}", self.command("attach", "", how))
    }

    /// What the pod does.
    fn goes_on(&self) -> String {
        match self.left_while() {
            Some(Because::Node { .. }) => "stays, and waits for a node".to_owned(),
            Some(Because::Queue { gates, .. }) if !gates.is_empty() => {
                format!("stays, and waits for {}", clause(&gates.join(", ")))
            }
            Some(Because::Start { node, .. }) => format!("goes on, and is starting on {node}"),
            Some(Because::Termination { .. } | Because::Unreachable { .. }) => "is being deleted".to_owned(),
            _ => "runs on".to_owned(),
        }
    }

    /// When the pod ends, if nobody watches any more: it carries the template's deadline, and the total clock.
    pub(crate) fn end_by_itself(&self, now: Time) -> String {
        let template = self.spec.template.active_deadline_seconds.map(|limit| Duration::from_secs(limit.into()));
        let Some(limit) = self.spec.clocks.total.into_iter().chain(template).min() else {
            return "it has no deadline: it runs until its program ends".to_owned();
        };
        match self.assigned_at() {
            Some(at) => {
                let left = (at + limit).min(self.total_ends().unwrap_or(at + limit)).since(now);
                format!("it ends by itself, at the latest in {}", whole(left))
            }
            None => format!("it ends by itself, at the latest {} after it has come to a node", whole(limit)),
        }
    }

    fn command(&self, verb: &str, flags: &str, how: &Leaving<'_>) -> String {
        format!("{} {verb} {}{flags}{}", program(), self.spec.task, how.again)
    }
}
