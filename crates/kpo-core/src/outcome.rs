//! What a task came to: the one value that every way in hands out.

use crate::ledger::Entry;
use crate::pod::PodStatus;
use crate::reason::Reason;
use crate::time::Time;
use crate::verdict::Verdict;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use std::time::Duration;

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
    #[serde(
        skip_serializing_if = "Option::is_none",
        default,
        serialize_with = "as_json",
        deserialize_with = "as_text"
    )]
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
    /// The verdict, without indexes: the ledger stays behind.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The ledger's entries it rests on.
    #[serde(rename = "evidence", skip_serializing_if = "Vec::is_empty", default)]
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

/// A result that is JSON is written as that, not as a string that holds it: as the program wrote it, so that a number keeps its digits.
fn as_json<S: Serializer>(result: &Option<String>, to: S) -> Result<S::Ok, S::Error> {
    match result.as_deref().map(on_one_line).map(RawValue::from_string) {
        Some(Ok(json)) => json.serialize(to),
        _ => result.serialize(to),
    }
}

/// JSON without the white space around its words: an event is one line.
fn on_one_line(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let is_kept = |c: &char| {
        let kept = in_string || !c.is_ascii_whitespace();
        in_string ^= *c == '"' && !escaped;
        escaped = in_string && *c == '\\' && !escaped;
        kept
    };
    json.chars().filter(is_kept).collect()
}

fn as_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Value>::deserialize(from)?.map(|value| match value {
        Value::String(text) => text,
        value => value.to_string(),
    }))
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

impl AttemptVerdict {
    /// A verdict on an attempt with these ledger's entries.
    pub fn of(mut verdict: Verdict, ledger: &[Entry]) -> Self {
        let indexes = std::mem::take(&mut verdict.evidence);
        let entries = indexes.iter().filter_map(|index| ledger.get(*index as usize).cloned()).collect();
        Self { verdict, entries }
    }
}

impl AttemptRecord {
    /// How long its own container ran: by the node's clock where that told both ends (in whole seconds), else by the observer's. `None`: it
    /// is not known to have run.
    pub fn ran(&self, container: &str) -> Option<Duration> {
        let statuses = self.last_status.iter().flat_map(|status| &status.container_statuses);
        let own = statuses.into_iter().find(|status| status.name == container);
        let end = own.and_then(|own| own.state.terminated.as_ref());
        let told = |text: &Option<String>| text.as_deref().and_then(Time::parse).filter(|at| *at > Time::default());
        let by_node = end.and_then(|end| Some(told(&end.finished_at)?.since(told(&end.started_at)?)));
        by_node.or_else(|| Some(self.times.ended?.since(self.times.started?)))
    }

    /// Why it ended. `None`: no verdict.
    pub fn reason(&self) -> Option<Reason> {
        self.verdict.as_ref().map(|verdict| verdict.verdict.reason)
    }

    /// Small enough to travel in an annotation: without its last status and the spelt-out evidence.
    #[must_use]
    pub fn condensed(&self) -> Self {
        let verdict = self.verdict.clone().map(|verdict| AttemptVerdict { entries: Vec::new(), ..verdict });
        Self { verdict, last_status: None, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_json_where_it_is_json() {
        for (text, written) in [("{\"a\":1}\n", "{\"a\":1}"), ("plain words", "\"plain words\""), ("7", "7")] {
            let mut outcome = Outcome::living("t", "default", Vec::new());
            outcome.result = Some(text.to_owned());
            let json = serde_json::to_string(&outcome).unwrap();
            assert!(json.contains(&format!("\"result\":{written}")), "{json}");
            assert_eq!(serde_json::from_str::<Outcome>(&json).unwrap().result.as_deref(), Some(text.trim()));
        }
    }

    #[test]
    fn a_result_comes_out_as_it_went_in() {
        for (text, written) in [
            ("[123456789012345678901234567890, 0.1000000000000000055511151231257827]", None),
            ("{\n  \"b\": 1e400,\n  \"a\": \" \\\" x\\\\\",\t\"b\": 2}\n", Some(r#"{"b":1e400,"a":" \" x\\","b":2}"#)),
            ("two words", Some("\"two words\"")),
        ] {
            let mut outcome = Outcome::living("t", "default", Vec::new());
            outcome.result = Some(text.to_owned());
            let json = serde_json::to_string(&outcome).unwrap();
            let written = written.map_or_else(|| text.replace(' ', ""), str::to_owned);
            assert!(json.contains(&format!("\"result\":{written},")), "{json}");
            assert!(!json.contains('\n'));
        }
    }
}
