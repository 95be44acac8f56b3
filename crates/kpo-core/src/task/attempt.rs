//! One pod of a task, and what is still to be done about it.

use super::advance::TRY_AGAIN;
use super::clocks::Meter;
use crate::contract::Command;
use crate::ledger::Ledger;
use crate::marks;
use crate::outcome::{AttemptRecord, AttemptVerdict, PodRef, Times};
use crate::pod::Pod;
use crate::spec::{Naming, Spec};
use crate::time::Time;
use crate::verdict::{Class, Started, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// An attempt: one pod created for the task.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// The pod's name.
    pub name: String,
    /// What was observed of it.
    pub ledger: Ledger,
    /// What became of it. Once set it stays: a restarted kubelet may rewrite a status.
    pub verdict: Option<Verdict>,
    /// When its stations were passed.
    pub times: Times,
    /// What its clocks have used.
    pub meter: Meter,
    /// Not before this is kpo's gate lifted, or the pod created. `None`: at once.
    pub not_before: Option<Time>,
    /// Containers whose logs are followed.
    pub followed: BTreeSet<String>,
    /// Whether its logs are all out.
    pub logs_closed: bool,
    /// Conflicts in a row that writes to it have met.
    #[serde(default)]
    pub conflicts: u32,
    /// The version as which it was to be signed, and which it had no more. `None`: that was not so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub outdated: Option<String>,
    /// Not before this is it written to again, after conflicts. `None`: at once.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub write_again_at: Option<Time>,
    /// Whether our deletion may have been carried out without its answer: its absence is then no surprise.
    #[serde(default)]
    pub delete_in_doubt: bool,
    /// Since when it is not to be found, while what happened to it may still be shown. `None`: it is not so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub absent_since: Option<Time>,
    /// Whether it is left where it is: its deletion was refused, or not seen to be carried out.
    pub left_behind: bool,
    /// What was last said of it, so that each thing is said once.
    pub said: Said,
}

/// What was said of an attempt already.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// That it was bound.
    pub assigned: bool,
    /// That its container runs.
    pub running: bool,
    /// That it is being taken away.
    pub disrupting: bool,
    /// That it is being deleted.
    #[serde(default)]
    pub deleting: bool,
    /// Why it is about to be deleted, on the pod itself.
    #[serde(default)]
    pub signed: bool,
    /// That the containers beside the result's sidecar were told to end.
    #[serde(default)]
    pub ends_others: bool,
    /// That events were asked for a last time, before the scheduling clock ended.
    #[serde(default)]
    pub asked_for_a_node: bool,
    /// When events were last listed to explain a wait.
    pub explained_at: Option<Time>,
}

/// The pod of an ended attempt that still needs a hand.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Leaving {
    /// The attempt.
    pub attempt: Attempt,
    /// Whether kpo's finalizer is (as far as known) still on it.
    pub protected: bool,
    /// Whether it is to be deleted.
    pub delete: bool,
    /// Whether it says (as far as that can be had) that there is an attempt after it: who finds only this pod must not make that attempt again.
    #[serde(default)]
    pub succeeded: bool,
    /// Whether the last try to write was refused: it is left, and said.
    pub given_up: bool,
    /// When it was last asked whether it is still there, since it holds the next attempt; at first, since when it is seen. `None`: it may
    /// not be seen, and is to be asked for.
    pub asked_at: Option<Time>,
}

impl Leaving {
    /// One that is watched, and of which nothing has been done about yet.
    pub(super) fn new(now: Time, attempt: Attempt, protected: bool, delete: bool) -> Self {
        Self { attempt, protected, delete, succeeded: false, given_up: false, asked_at: Some(now) }
    }
}

impl Attempt {
    /// An attempt of which nothing has happened yet.
    pub fn new(number: u32, spec: &Spec) -> Self {
        Self {
            number,
            name: name_of(spec, number),
            ledger: Ledger::default(),
            verdict: None,
            times: Times::default(),
            meter: Meter::default(),
            not_before: None,
            followed: BTreeSet::new(),
            logs_closed: false,
            conflicts: 0,
            outdated: None,
            write_again_at: None,
            delete_in_doubt: false,
            absent_since: None,
            left_behind: false,
            said: Said::default(),
        }
    }

    /// Whether that sight is of this attempt's pod: by UID, never by name.
    pub fn is(&self, pod: &Pod) -> bool {
        self.ledger.uid() == Some(pod.metadata.uid.as_str())
    }

    /// Its pod's UID; empty where the API server never accepted one.
    pub fn uid(&self) -> String {
        self.ledger.uid().unwrap_or_default().to_owned()
    }

    /// The resourceVersion of its last sight.
    pub(super) fn resource_version(&self) -> String {
        self.ledger.last.as_ref().map(|pod| pod.metadata.resource_version.clone()).unwrap_or_default()
    }

    /// Writes an annotation onto its pod, in whatever version that is.
    pub(super) fn annotate(&self, key: &str, value: String) -> Command {
        self.annotate_at(None, key, value)
    }

    /// The same in that version only.
    pub(super) fn annotate_at(&self, resource_version: Option<String>, key: &str, value: String) -> Command {
        Command::Annotate {
            name: self.name.clone(),
            uid: self.uid(),
            annotations: vec![(key.to_owned(), value)],
            active_deadline_seconds: None,
            resource_version,
        }
    }

    /// Whether its pod is (as far as known) still in the cluster.
    pub(super) fn is_there(&self) -> bool {
        self.ledger.last.is_some() && self.ledger.gone.is_none()
    }

    /// A write to it has met a conflict. What is there now is looked at, and it is tried again: at once for the first time.
    pub(super) fn met_conflict(&mut self, now: Time) {
        self.conflicts += 1;
        self.write_again_at = (self.conflicts > 1).then_some(now + TRY_AGAIN);
    }

    /// Whether a write to it is to wait.
    pub(super) fn rests(&self, now: Time) -> bool {
        self.write_again_at.is_some_and(|at| at > now)
    }

    /// Whether it was judged never to have started: what is seen to the contrary wins, as long as its successor is held.
    pub(super) fn is_believed_unstarted(&self) -> bool {
        let class = self.verdict.as_ref().map(|verdict| &verdict.class);
        matches!(class, Some(Class::Disrupted { started: Started::Never, .. }))
    }

    /// The observer's mark that it carries, as last seen.
    pub(super) fn mark(&self) -> Option<&str> {
        self.ledger.last.as_ref().and_then(|pod| pod.annotation(marks::OBSERVER))
    }

    /// Whether it carries kpo's finalizer.
    pub(super) fn is_protected(&self) -> bool {
        let finalizers = self.ledger.last.iter().flat_map(|pod| &pod.metadata.finalizers);
        finalizers.into_iter().any(|finalizer| finalizer == marks::FINALIZER)
    }

    /// Whether its deletion was requested, by whomever.
    pub(super) fn is_terminating(&self) -> bool {
        self.ledger.last.as_ref().is_some_and(Pod::is_terminating)
    }

    /// As it is reported and carried.
    pub fn record(&self, namespace: &str) -> AttemptRecord {
        AttemptRecord {
            number: self.number,
            pod: PodRef {
                name: self.name.clone(),
                namespace: namespace.to_owned(),
                uid: self.uid(),
                node: self.ledger.node().map(str::to_owned),
            },
            verdict: self.verdict.clone().map(|verdict| AttemptVerdict::of(verdict, &self.ledger.entries)),
            last_status: self.ledger.last.as_ref().map(|pod| pod.status.clone()),
            times: self.times,
        }
    }
}

/// Names of attempts are deterministic, so that a create whose answer was lost finds its own pod again.
pub(super) fn name_of(spec: &Spec, number: u32) -> String {
    match spec.naming {
        Naming::Numbered => format!("{}-{number}", spec.task),
        Naming::Fixed => spec.task.clone(),
    }
}
