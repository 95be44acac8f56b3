//! What a watch and a list say, parsed once.

use kpo_core::Pod;
use serde::Deserialize;
use serde_json::Value;

/// One line of a watch (`metav1.WatchEvent`).
///
/// Adjacently tagged: since the API server writes `type` first, the object is parsed straight into the pod.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
pub(super) enum Line {
    Added(Box<Pod>),
    Modified(Box<Pod>),
    Deleted(Box<Pod>),
    /// Only its resourceVersion counts (KEP-956).
    Bookmark(Marked),
    /// A `metav1.Status`.
    Error(Value),
}

/// An object of which only the metadata is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Marked {
    pub(super) metadata: ListMeta,
}

/// One page of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodList {
    pub(super) metadata: ListMeta,
    pub(super) items: Vec<Pod>,
}

/// `metav1.ListMeta`, reduced.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ListMeta {
    pub(super) resource_version: String,
    /// Where the next page begins; empty on the last.
    #[serde(rename = "continue")]
    pub(super) next: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recorded_event_parses_in_either_order_of_keys() {
        let recording = include_str!("../../../kpo-core/tests/recordings/preempted_before_start.jsonl");
        let mut seen = 0;
        for line in recording.lines() {
            let event: Value = serde_json::from_str(line).expect("a recording is JSON lines");
            if event["kind"] != "Pod" {
                continue;
            }
            let (kind, object) = (&event["type"], &event["object"]);
            for text in
                [format!(r#"{{"type":{kind},"object":{object}}}"#), format!(r#"{{"object":{object},"type":{kind}}}"#)]
            {
                let parsed: Line = serde_json::from_str(&text).expect("an event");
                let (Line::Added(pod) | Line::Modified(pod) | Line::Deleted(pod)) = parsed else {
                    panic!("not a pod's event: {text}");
                };
                assert_eq!(pod.metadata.resource_version, object["metadata"]["resourceVersion"]);
                seen += 1;
            }
        }
        assert!(seen > 20, "{seen}");
    }
}
