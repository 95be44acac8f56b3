//! What a task came to: the one value that every way in hands out.

use crate::ledger::Entry;
use crate::pod::PodStatus;
use crate::reason::Reason;
use crate::time::Time;
use crate::verdict::Verdict;
use serde::{Deserialize, Serialize};

/// What a task came to. Stable JSON: `apiVersion: kpo.rs/v1`, `kind: Outcome`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// `kpo.rs/v1`.
    pub api_version: String,
    /// `Outcome`.
    pub kind: String,
    /// The task's id.
    pub task: String,
    /// Its namespace.
    pub namespace: String,
    /// The class name of the last attempt's verdict, or `cancelled`/`launchFailed` where no pod came to be. `None`: it lives on
    /// (detached, or `why` of a living pod).
    pub verdict: Option<String>,
    /// What the process exits with: the container's code, or one of kpo's own (see [`Reason::exit_code`]).
    pub exit_code: Option<i32>,
    /// The reason's code. `None` while it lives.
    pub reason: Option<Reason>,
    /// The one line.
    pub message: String,
    /// The result: JSON where it parses, else a string. `None`: none was asked for, or there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub result: Option<String>,
    /// All attempts, in order.
    pub attempts: Vec<AttemptRecord>,
}

/// One attempt, as it is reported and carried.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptRecord {
    /// From 1.
    pub number: u32,
    /// The pod.
    pub pod: PodRef,
    /// What became of it. `None`: it lives.
    pub verdict: Option<AttemptVerdict>,
    /// The last status seen. `None`: none, or dropped to keep an annotation small.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_status: Option<PodStatus>,
    /// When.
    pub times: Times,
}

/// A pod, named for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodRef {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its UID; empty where the API server never accepted one.
    pub uid: String,
    /// Its node. `None`: never bound.
    pub node: Option<String>,
}

/// A verdict with its evidence spelt out.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptVerdict {
    /// The verdict; its `evidence` are indexes into the ledger.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The entries it rests on.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub entries: Vec<Entry>,
}

/// When an attempt's stations were passed, by the observer's clock. `None`: not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Times {
    /// Its create was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Time>,
    /// It was bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned: Option<Time>,
    /// Its own container was first seen running, or to have run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// Its verdict was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
}

impl Outcome {
    /// The outcome of a task that lives, or whose end was not seen.
    pub fn living(task: &str, namespace: &str, attempts: Vec<AttemptRecord>) -> Self {
        Self {
            api_version: "kpo.rs/v1".to_owned(),
            kind: "Outcome".to_owned(),
            task: task.to_owned(),
            namespace: namespace.to_owned(),
            verdict: None,
            exit_code: None,
            reason: None,
            message: String::new(),
            result: None,
            attempts,
        }
    }

    /// Takes the last attempt's verdict for the task's.
    pub fn conclude(&mut self, verdict: &Verdict) {
        self.verdict = Some(verdict.class.name().to_owned());
        self.exit_code = Some(verdict.process_code());
        self.reason = Some(verdict.reason);
        self.message = verdict.reason.sentence().to_owned();
    }

    /// The program succeeded, but something that was asked for beside it is missing: the task failed.
    pub fn spoil(&mut self, reason: Reason, what: &str) {
        self.verdict = Some("failed".to_owned());
        self.exit_code = Some(reason.exit_code());
        self.reason = Some(reason);
        self.message = format!("{}: {what}", reason.sentence());
    }
}

impl AttemptRecord {
    /// Small enough to travel in an annotation: without its last status and the spelt-out evidence.
    #[must_use]
    pub fn condensed(&self) -> Self {
        let verdict = self.verdict.clone().map(|verdict| AttemptVerdict { entries: Vec::new(), ..verdict });
        Self { verdict, last_status: None, ..self.clone() }
    }
}
