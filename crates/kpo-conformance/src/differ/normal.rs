//! What may differ between two worlds that behave the same: names that a server makes up, and times.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Names for what a world made up, in the order in which it showed them.
#[derive(Debug, Default)]
pub(super) struct Names {
    uids: BTreeMap<String, usize>,
    versions: BTreeMap<String, usize>,
}

impl Names {
    /// The value as any world would have it.
    pub(super) fn same(&mut self, value: &Value) -> Value {
        self.of_key("", value)
    }

    fn of_key(&mut self, key: &str, value: &Value) -> Value {
        match value {
            Value::String(text) => self.text(key, text).into(),
            Value::Array(all) => all.iter().map(|one| self.of_key("", one)).collect(),
            Value::Object(all) => self.object(all),
            _ => value.clone(),
        }
    }

    fn object(&mut self, all: &Map<String, Value>) -> Value {
        let is_list = all.contains_key("items") || all.get("metadata").is_some_and(is_initial_end);
        let mut same = Map::new();
        for (key, value) in all {
            let value = &in_one_order(key, value);
            let value = if is_list && key == "metadata" { self.list_metadata(value) } else { self.of_key(key, value) };
            same.insert(key.clone(), value);
        }
        Value::Object(same)
    }

    /// A list's version, and that of the bookmark after initial events, is that of all that the server holds, other things included: no name of what is in it.
    fn list_metadata(&mut self, metadata: &Value) -> Value {
        let mut metadata = metadata.clone();
        metadata["resourceVersion"] = "the list's".into();
        self.of_key("", &metadata)
    }

    fn text(&mut self, key: &str, text: &str) -> String {
        match key {
            "uid" => named("uid", &mut self.uids, text),
            "resourceVersion" if text.parse::<u64>().is_ok() => named("version", &mut self.versions, text),
            "continue" => "more".to_owned(),
            _ if is_time(text) => "time".to_owned(),
            _ => self.sentence(without_go_values(text)),
        }
    }

    /// A text in which such names may stand. One of them no answer has shown yet where a write was answered without the object.
    fn sentence(&mut self, text: &str) -> String {
        const RECORD: &str = "ResourceVersion in record (";
        if let Some(version) = text.find(RECORD).and_then(|at| text[at + RECORD.len()..].split(')').next()) {
            named("version", &mut self.versions, version);
        }
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let mut same = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            same += &self.word(word);
            let gap = after.find(is_word).unwrap_or(after.len());
            same += &after[..gap];
            rest = &after[gap..];
        }
        same
    }

    fn word(&self, word: &str) -> String {
        if let Some(number) = self.uids.get(word) {
            return format!("uid-{number}");
        }
        if let Some(number) = self.versions.get(word) {
            return format!("version-{number}");
        }
        word.to_owned()
    }
}

/// Forgiven: what a pod's update may not change is told with the Go values of both specs behind it, which the lab has not.
fn without_go_values(text: &str) -> &str {
    const BEFORE: &str = "(allow it to be set to 1 if it was previously negative)";
    text.find(BEFORE).map_or(text, |at| &text[..at + BEFORE.len()])
}

fn is_initial_end(metadata: &Value) -> bool {
    metadata["annotations"]["k8s.io/initial-events-end"] == "true"
}

/// Forgiven: entries of `managedFields` stand in the order of their seconds, and two worlds' seconds do not begin together.
fn in_one_order(key: &str, value: &Value) -> Value {
    let mut value = value.clone();
    if let (true, Some(entries)) = (key == "managedFields", value.as_array_mut()) {
        let text = |entry: &Value, field: &str| entry[field].as_str().unwrap_or_default().to_owned();
        entries.sort_by_key(|entry| (text(entry, "manager"), text(entry, "subresource")));
    }
    value
}

fn named(what: &str, known: &mut BTreeMap<String, usize>, text: &str) -> String {
    let next = known.len();
    format!("{what}-{}", known.entry(text.to_owned()).or_insert(next))
}

fn is_time(text: &str) -> bool {
    text.parse::<jiff::Timestamp>().is_ok()
}
