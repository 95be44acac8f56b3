//! Pods that no observer will remove any more, and when they are due: `kpo sweep`, and each process whose watch shows them.

use crate::marks;
use crate::pod::Pod;
use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// An observer takes its finalizer off within seconds; one that stands longer than this has none left.
const LEFT_BEHIND: Duration = Duration::from_secs(600);

/// Why a pod is to be swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Due {
    /// It was kept, and its time is over: it is to be deleted.
    Expired,
    /// It was deleted, and only kpo's finalizer holds it: no observer took it off.
    Held,
}

/// What there will be to do about a pod, and from when on. `None`: nothing; only pods that have ended are touched.
///
/// ```
/// use kpo_core::{Pod, Time, sweep::{self, Due}};
/// let kept: Pod = serde_json::from_str(r#"{"metadata": {"annotations": {"kpo.rs/expires": "2026-11-23T22:00:00Z"}},
///     "status": {"phase": "Failed"}}"#)?;
/// assert_eq!(sweep::due(&kept), Time::parse("2026-11-23T22:00:00Z").map(|at| (at, Due::Expired)));
/// # Ok::<(), serde_json::Error>(())
/// ```
pub fn due(pod: &Pod) -> Option<(Time, Due)> {
    if !pod.status.phase.is_terminal() {
        return None;
    }
    match pod.metadata.deletion_timestamp.as_deref() {
        Some(deleted) => {
            let held = pod.metadata.finalizers.iter().any(|finalizer| finalizer == marks::FINALIZER);
            Time::parse(deleted).filter(|_| held).map(|deleted| (deleted + LEFT_BEHIND, Due::Held))
        }
        None => pod.annotation(marks::EXPIRES).and_then(Time::parse).map(|at| (at, Due::Expired)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn only_what_has_ended_and_is_over_is_swept() {
        let at = |text: &str| Time::parse(text).unwrap();
        let pod = |phase: &str, expires: &str, deleted: Value, finalizers: Value| -> Pod {
            let annotations = if expires.is_empty() { json!({}) } else { json!({marks::EXPIRES: expires}) };
            let metadata = json!({"annotations": annotations, "deletionTimestamp": deleted, "finalizers": finalizers});
            serde_json::from_value(json!({"metadata": metadata, "status": {"phase": phase}})).unwrap()
        };
        let (none, ours) = (json!([]), json!([marks::FINALIZER]));
        let time = "2026-11-23T22:00:00Z";
        let held = (at("2026-11-23T22:10:00Z"), Due::Held);
        for (pod, wanted) in [
            (pod("Failed", time, Value::Null, none.clone()), Some((at(time), Due::Expired))),
            (pod("Succeeded", time, Value::Null, ours.clone()), Some((at(time), Due::Expired))),
            (pod("Running", time, Value::Null, none.clone()), None),
            (pod("Failed", "", Value::Null, none.clone()), None),
            (pod("Failed", "tomorrow", Value::Null, none), None),
            (pod("Failed", "", json!(time), ours.clone()), Some(held)),
            (pod("Failed", time, json!(time), ours.clone()), Some(held)),
            (pod("Running", "", json!(time), ours), None),
            (pod("Failed", time, json!(time), json!(["others.io/x"])), None),
        ] {
            assert_eq!(due(&pod), wanted, "{pod:?}");
        }
    }
}
