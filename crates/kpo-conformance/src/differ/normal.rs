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
        // A list's version is that of all that the server holds, other things included.
        let is_list = all.contains_key("items");
        let mut same = Map::new();
        for (key, value) in all {
            let mut value = self.of_key(key, value);
            if is_list && key == "metadata" {
                value["resourceVersion"] = "the list's".into();
            }
            same.insert(key.clone(), value);
        }
        Value::Object(same)
    }

    fn text(&mut self, key: &str, text: &str) -> String {
        match key {
            "uid" => named("uid", &mut self.uids, text),
            "resourceVersion" => named("version", &mut self.versions, text),
            "continue" => "more".to_owned(),
            _ if is_time(text) => "time".to_owned(),
            _ => self.sentence(text),
        }
    }

    /// A text in which such names may stand.
    fn sentence(&self, text: &str) -> String {
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
        // The projected volume of a service account's token ends in five random letters.
        match word.strip_prefix("kube-api-access-") {
            Some(_) => "kube-api-access-xxxxx".to_owned(),
            None => word.to_owned(),
        }
    }
}

fn named(what: &str, known: &mut BTreeMap<String, usize>, text: &str) -> String {
    let next = known.len();
    format!("{what}-{}", known.entry(text.to_owned()).or_insert(next))
}

fn is_time(text: &str) -> bool {
    text.parse::<jiff::Timestamp>().is_ok()
}
