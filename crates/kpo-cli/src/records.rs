//! What was recorded of pods: as kubectl prints it, or as kpo's own recordings have it.

use kpo_core::{ClusterEvent, Pod, Sight, Time};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// One thing that was seen or told.
pub(crate) struct Record {
    /// When: by the recording's clock, else by the newest timestamp that the object carries.
    pub(crate) at: Time,
    /// What.
    pub(crate) what: What,
}

/// See [`Record`].
pub(crate) enum What {
    /// A sight of a pod; the whole object beside what is read of it.
    Seen(Sight, Box<Pod>, Box<Value>),
    /// An event about something.
    Told(Box<ClusterEvent>),
}

/// What a text holds.
pub(crate) struct Recording {
    /// In the order in which they stand there.
    pub(crate) records: Vec<Record>,
    /// The line at which it is cut off in the middle of an object. `None`: it is whole.
    pub(crate) cut: Option<usize>,
}

/// Why a text is no recording.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("it is empty")]
    Empty,
    #[error("it is cut off at line {line}: nothing in it is whole")]
    Cut { line: usize },
    #[error("not JSON at line {line}, column {column}: {message}")]
    Json { line: usize, column: usize, message: String },
    #[error("neither JSON nor YAML: {0}")]
    Yaml(String),
    #[error("{0} is neither a pod, an event, a list of them, nor a watch event")]
    Kind(String),
    #[error("a pod cannot be understood: {0}")]
    Pod(serde_json::Error),
}

/// Reads a Pod (JSON or YAML), a list, a stream of watch events, or a recording (`{"t": …, "kind": …, "type": …, "object": …}` a line).
pub(crate) fn read(text: &str) -> Result<Recording, RecordError> {
    let mut reader = Reader::default();
    let (values, cut) = values(text)?;
    for value in values {
        reader.take(&value)?;
    }
    match (reader.records, cut) {
        (records, None) if records.is_empty() => Err(RecordError::Empty),
        (records, Some(line)) if records.is_empty() => Err(RecordError::Cut { line }),
        (records, cut) => Ok(Recording { records, cut }),
    }
}

/// What is whole in a text, and the line at which it is cut off, if it is.
fn values(text: &str) -> Result<(Vec<Value>, Option<usize>), RecordError> {
    let begins_as_json = text.trim_start().starts_with(['{', '[']);
    let json: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter::<Value>().collect();
    match json {
        Ok(values) => Ok((values, None)),
        // A stream that was cut off in its last object is worth what came before.
        Err(error) if error.is_eof() && begins_as_json => Ok((whole_values(text), Some(error.line()))),
        Err(error) if begins_as_json => {
            let message = error.to_string();
            let message = message.split(" at line").next().unwrap_or_default().to_owned();
            Err(RecordError::Json { line: error.line(), column: error.column(), message })
        }
        Err(_) => {
            let options = serde_saphyr::options! { legacy_octal_numbers: true, with_snippet: false };
            let values = serde_saphyr::from_multiple_with_options(text, options);
            Ok((values.map_err(|error| RecordError::Yaml(error.to_string()))?, None))
        }
    }
}

fn whole_values(text: &str) -> Vec<Value> {
    serde_json::Deserializer::from_str(text).into_iter::<Value>().map_while(Result::ok).collect()
}

#[derive(Default)]
struct Reader {
    records: Vec<Record>,
    newest: Time,
    /// What the recording's zero is in UTC: told by the first object that carries a time.
    zero: Option<Time>,
}

impl Reader {
    fn take(&mut self, value: &Value) -> Result<(), RecordError> {
        if let Some(items) = value.get("items").and_then(Value::as_array) {
            return items.iter().try_for_each(|item| self.take(item));
        }
        if let (Some(change), Some(object)) = (value.get("type").and_then(Value::as_str), value.get("object")) {
            return self.change(change, object, value.get("t").and_then(Value::as_f64));
        }
        self.object(Sight::Present, value, None)
    }

    fn change(&mut self, change: &str, object: &Value, t: Option<f64>) -> Result<(), RecordError> {
        match change {
            "BOOKMARK" | "ERROR" => Ok(()),
            "DELETED" => self.object(Sight::Deleted, object, t),
            _ => self.object(Sight::Present, object, t),
        }
    }

    fn object(&mut self, sight: Sight, object: &Value, t: Option<f64>) -> Result<(), RecordError> {
        let at = self.time(object, t);
        let what = match object.get("kind").and_then(Value::as_str) {
            Some("Pod") => {
                let pod = Pod::deserialize(object).map_err(RecordError::Pod)?;
                What::Seen(sight, Box::new(pod), Box::new(object.clone()))
            }
            Some("Event") => What::Told(Box::new(ClusterEvent::deserialize(object).map_err(RecordError::Pod)?)),
            Some(kind) => return Err(RecordError::Kind(kind.to_owned())),
            None => return Err(RecordError::Kind("an object without a kind".to_owned())),
        };
        self.records.push(Record { at, what });
        Ok(())
    }

    /// Never before what came before it.
    fn time(&mut self, object: &Value, t: Option<f64>) -> Time {
        let own = stamps(object).into_iter().max();
        let at = match t {
            Some(t) => {
                let t = Duration::from_secs_f64(t.clamp(0.0, 1e9));
                let zero = *self.zero.get_or_insert_with(|| own.map_or(Time::default(), |own| own - t));
                zero + t
            }
            None => own.unwrap_or(self.newest),
        };
        self.newest = self.newest.max(at);
        self.newest
    }
}

/// The moments at which, by its own word, something of the object was written.
fn stamps(object: &Value) -> Vec<Time> {
    let mut found = Vec::new();
    let mut add = |value: Option<&Value>| found.extend(value.and_then(Value::as_str).and_then(Time::parse));
    let at = |pointer: &str| object.pointer(pointer);
    let each = |pointer: &str| object.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    for pointer in ["/metadata/creationTimestamp", "/lastTimestamp", "/eventTime", "/status/startTime"] {
        add(at(pointer));
    }
    each("/metadata/managedFields").for_each(|field| add(field.get("time")));
    each("/status/conditions").for_each(|condition| add(condition.get("lastTransitionTime")));
    for status in each("/status/initContainerStatuses").chain(each("/status/containerStatuses")) {
        for pointer in ["/state/running/startedAt", "/state/terminated/finishedAt"] {
            add(status.pointer(pointer));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Vec<String> {
        let records = read(text).unwrap_or_else(|error| panic!("{error}")).records;
        let what = |what: &What| match what {
            What::Seen(sight, pod, _) => format!("{sight:?} {}", pod.metadata.name),
            What::Told(event) => format!("told {}", event.reason),
        };
        records.iter().map(|record| format!("{} {}", record.at, what(&record.what))).collect()
    }

    #[test]
    fn all_forms_are_read() {
        let yaml = "kind: Pod\nmetadata: {name: a, creationTimestamp: '2026-11-23T22:10:07Z'}\n";
        assert_eq!(said(yaml), ["2026-11-23T22:10:07.000Z Present a"]);
        let pod = r#"{"kind":"Pod","metadata":{"name":"a","creationTimestamp":"2026-11-23T22:10:07Z"}}"#;
        assert_eq!(said(pod), said(yaml));
        let watch = format!(
            "{{\"type\":\"ADDED\",\n\"object\":{pod}}}\n{{\"type\":\"BOOKMARK\",\"object\":{{}}}}{{\"type\":\"DELETED\",\"object\":{pod}}}"
        );
        assert_eq!(said(&watch), ["2026-11-23T22:10:07.000Z Present a", "2026-11-23T22:10:07.000Z Deleted a"]);
        let list = format!(r#"{{"kind":"List","items":[{pod},{{"kind":"Event","reason":"Preempted"}}]}}"#);
        assert_eq!(said(&list), ["2026-11-23T22:10:07.000Z Present a", "2026-11-23T22:10:07.000Z told Preempted"]);
        let recording = format!(
            "{{\"t\":0.5,\"kind\":\"Pod\",\"type\":\"ADDED\",\"object\":{pod}}}\n{{\"t\":2.25,\"kind\":\"Pod\",\"type\":\"DELETED\",\"object\":{pod}}}\n"
        );
        assert_eq!(said(&recording), ["2026-11-23T22:10:07.000Z Present a", "2026-11-23T22:10:08.750Z Deleted a"]);
    }

    #[test]
    fn what_is_none_of_them_is_said() {
        let said = |text| read(text).err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(said(""), "it is empty");
        assert_eq!(said("{\"kind\": \"Node\"}"), "Node is neither a pod, an event, a list of them, nor a watch event");
        assert_eq!(said("{\"a\" 1}"), "not JSON at line 1, column 6: expected `:`");
        assert!(said("a: [").starts_with("neither JSON nor YAML: "));
        assert_eq!(said("{\"type\":\"ADDED\",\"obj"), "it is cut off at line 1: nothing in it is whole");
    }
}
