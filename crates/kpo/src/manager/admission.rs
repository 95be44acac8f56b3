//! What admission made of a pod: the server's answer compared with what was sent.

use std::fmt;

use kpo_core::marks;
use serde_json::Value;

/// What is no longer as it was sent, though the task depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// The task's own container is not there any more: removed or renamed.
    OwnContainer {
        /// The name that was sent.
        name: String,
    },
    /// The restart policy was changed.
    RestartPolicy {
        /// As it was sent.
        sent: String,
        /// As it is.
        stored: String,
    },
    /// A label was changed or removed: by the task's labels its pods are found again.
    Label {
        /// Its name.
        key: String,
    },
    /// An annotation of kpo's was changed or removed: by the nonce a pod is known as the task's.
    Annotation {
        /// Its name.
        key: String,
    },
    /// A finalizer was taken off: the pod's last state can vanish.
    Finalizer {
        /// Its name.
        name: String,
    },
    /// A scheduling gate was taken off: the pod does not wait for its backoff.
    Gate {
        /// Its name.
        name: String,
    },
}

impl Difference {
    /// Whether the task cannot be run rightly with it. A label that is not kpo's, a finalizer and a gate only cost a comfort.
    pub fn is_fatal(&self) -> bool {
        match self {
            Difference::OwnContainer { .. } | Difference::RestartPolicy { .. } | Difference::Annotation { .. } => true,
            Difference::Label { key } => key.starts_with("kpo.rs/"),
            Difference::Finalizer { .. } | Difference::Gate { .. } => false,
        }
    }
}

impl Difference {
    /// What it costs, where it is not fatal.
    pub fn cost(&self) -> Option<&'static str> {
        match self {
            _ if self.is_fatal() => None,
            Difference::Finalizer { name } if name == marks::FINALIZER => Some("the pod's last state is not protected"),
            Difference::Gate { name } if name == marks::GATE => Some("the pod does not wait for its backoff"),
            Difference::Gate { .. } => Some("the pod is not held back for whom it was to wait"),
            Difference::Label { .. } | Difference::Finalizer { .. } => Some("whoever counts on it does not find it"),
            Difference::OwnContainer { .. } | Difference::RestartPolicy { .. } | Difference::Annotation { .. } => None,
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::OwnContainer { name } => write!(f, "the container {name:?} was removed or renamed"),
            Difference::RestartPolicy { sent, stored } => {
                write!(f, "the restart policy {sent} was changed to {stored}")
            }
            Difference::Label { key } => write!(f, "the label {key} was changed or removed"),
            Difference::Annotation { key } => write!(f, "the annotation {key} was changed or removed"),
            Difference::Finalizer { name } => write!(f, "the finalizer {name} was removed"),
            Difference::Gate { name } => write!(f, "the scheduling gate {name} was removed"),
        }
    }
}

/// The answer to a create, compared with the request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admission {
    /// What is not as it was sent.
    pub differences: Vec<Difference>,
    /// Containers and init containers that admission added, by name: they do not count for the proof that nothing ran.
    pub added: Vec<String>,
    /// All containers of the admitted pod, init ones included: the kubelet divides 12288 bytes of termination messages among them.
    pub containers: usize,
}

impl Admission {
    /// Compares; `own` is the task's own container.
    ///
    /// ```
    /// use kpo::manager::{Admission, Difference};
    /// use serde_json::json;
    /// let sent = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "base"}]}});
    /// let stored = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "task"}, {"name": "istio-proxy"}]}});
    /// let admission = Admission::compare(&sent, &stored, "base");
    /// assert_eq!(admission.differences, [Difference::OwnContainer { name: "base".into() }]);
    /// assert_eq!(admission.added, ["task", "istio-proxy"]);
    /// ```
    pub fn compare(sent: &Value, stored: &Value, own: &str) -> Self {
        let (before, after) = (container_names(sent), container_names(stored));
        let mut differences = Vec::new();
        if !names(&stored["spec"]["containers"]).any(|name| name == own) {
            differences.push(Difference::OwnContainer { name: own.to_owned() });
        }
        differences.extend(restart_policy(sent, stored));
        let (old, new) = (&sent["metadata"], &stored["metadata"]);
        differences.extend(changed(&old["labels"], &new["labels"]).map(|key| Difference::Label { key }));
        let annotations = changed(&old["annotations"], &new["annotations"]).filter(|key| is_identity(key));
        differences.extend(annotations.map(|key| Difference::Annotation { key }));
        let finalizers = lost(&old["finalizers"], &new["finalizers"], Value::as_str);
        differences.extend(finalizers.map(|name| Difference::Finalizer { name }));
        let gates =
            lost(&sent["spec"]["schedulingGates"], &stored["spec"]["schedulingGates"], |gate| gate["name"].as_str());
        differences.extend(gates.map(|name| Difference::Gate { name }));
        let added = after.iter().filter(|name| !before.contains(name)).map(|name| (*name).to_owned()).collect();
        Self { differences, added, containers: after.len() }
    }

    /// The differences with which the task cannot be run rightly.
    pub fn fatal(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|difference| difference.is_fatal())
    }

    /// The others, each in a clause with what it costs.
    pub fn costs(&self) -> impl Iterator<Item = String> {
        self.differences.iter().filter_map(|difference| Some(format!("{difference}: {}", difference.cost()?)))
    }
}

/// Annotations by which a pod is known as the task's, or found again; others may change (the state does all the time).
fn is_identity(key: &str) -> bool {
    [marks::NONCE, marks::OBSERVER, marks::MANIFEST].contains(&key)
}

/// The default where the manifest names none is the server's, `Always`.
fn restart_policy(sent: &Value, stored: &Value) -> Option<Difference> {
    let policy = |pod: &Value| pod["spec"]["restartPolicy"].as_str().unwrap_or("Always").to_owned();
    let (sent, stored) = (policy(sent), policy(stored));
    (sent != stored).then_some(Difference::RestartPolicy { sent, stored })
}

fn container_names(pod: &Value) -> Vec<&str> {
    let of = |key: &str| names(&pod["spec"][key]);
    of("initContainers").chain(of("containers")).collect()
}

fn names(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(|entry| entry["name"].as_str())
}

/// Keys of a map whose value is not the same any more.
fn changed<'a>(old: &'a Value, new: &'a Value) -> impl Iterator<Item = String> + 'a {
    let entries = old.as_object().into_iter().flatten();
    entries.filter(|(key, value)| new.get(key.as_str()) != Some(value)).map(|(key, _)| key.clone())
}

/// Entries of a list that are no longer in it.
fn lost<'a>(
    old: &'a Value,
    new: &'a Value,
    name: impl Fn(&Value) -> Option<&str> + 'a,
) -> impl Iterator<Item = String> + 'a {
    let kept: Vec<String> = new.as_array().into_iter().flatten().filter_map(|e| name(e).map(str::to_owned)).collect();
    let old: Vec<String> = old.as_array().into_iter().flatten().filter_map(|e| name(e).map(str::to_owned)).collect();
    old.into_iter().filter(move |name| !kept.contains(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sent() -> Value {
        json!({
            "metadata": {
                "labels": {"kpo.rs/task": "t", "team": "x"},
                "annotations": {"kpo.rs/nonce": "n", "kpo.rs/state": "{}", "note": "a"},
                "finalizers": ["kpo.rs/protect"],
            },
            "spec": {
                "restartPolicy": "Never",
                "schedulingGates": [{"name": "kpo.rs/backoff"}],
                "initContainers": [{"name": "setup"}],
                "containers": [{"name": "base", "image": "a"}],
            },
        })
    }

    #[test]
    fn what_admission_may_do_is_no_difference() {
        let mut stored = sent();
        stored["metadata"]["uid"] = json!("u");
        stored["metadata"]["labels"]["injected"] = json!("yes");
        stored["metadata"]["annotations"]["note"] = json!("b");
        stored["metadata"]["annotations"]["kpo.rs/state"] = json!("{\"v\":1}");
        stored["metadata"]["finalizers"] = json!(["other", "kpo.rs/protect"]);
        stored["spec"]["containers"] = json!([{"name": "istio-proxy"}, {"name": "base", "image": "mirror/a"}]);
        stored["spec"]["initContainers"] = json!([{"name": "istio-init"}, {"name": "setup"}]);
        let admission = Admission::compare(&sent(), &stored, "base");
        assert_eq!(admission.differences, []);
        assert_eq!(admission.added, ["istio-init", "istio-proxy"]);
        assert_eq!(admission.containers, 4);
    }

    #[test]
    fn each_loss_is_named() {
        let stored = json!({
            "metadata": {"labels": {"kpo.rs/task": "other"}, "annotations": {}},
            "spec": {"restartPolicy": "OnFailure", "containers": [{"name": "wrapped"}], "initContainers": [{"name": "base"}]},
        });
        let admission = Admission::compare(&sent(), &stored, "base");
        let lines: Vec<_> = admission.differences.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "the container \"base\" was removed or renamed",
                "the restart policy Never was changed to OnFailure",
                "the label kpo.rs/task was changed or removed",
                "the label team was changed or removed",
                "the annotation kpo.rs/nonce was changed or removed",
                "the finalizer kpo.rs/protect was removed",
                "the scheduling gate kpo.rs/backoff was removed",
            ]
        );
        assert_eq!(admission.fatal().count(), 4);
        let costs: Vec<_> = admission.costs().collect();
        assert_eq!(
            costs,
            [
                "the label team was changed or removed: whoever counts on it does not find it",
                "the finalizer kpo.rs/protect was removed: the pod's last state is not protected",
                "the scheduling gate kpo.rs/backoff was removed: the pod does not wait for its backoff",
            ]
        );
    }
}
