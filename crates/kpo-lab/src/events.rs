//! The recorder of core/v1 Events, in both of upstream's forms.
//!
//! Components with the old recorder (kubelet, controllers) count repetitions in one object (`count`, `lastTimestamp`); the scheduler has the
//! new one (`eventTime`, `action`, `reportingInstance`, `related`), where each is an object of its own. As upstream, they are kept for an hour.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde_json::{Value, json};

use crate::pod;
use crate::resource::Resource;
use crate::store::{DeleteOptions, Store, Writer};
use crate::time::Time;

/// How long events are kept: `--event-ttl` of the API server.
const TTL: Duration = Duration::from_secs(3600);

/// Who reports: `source` of an old event.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// `reportingComponent`.
    pub component: &'static str,
    /// The node, for a kubelet; empty otherwise.
    pub host: String,
    /// The field manager under which the write shows.
    pub manager: &'static str,
}

impl Source {
    /// The kubelet of a node.
    pub(crate) fn kubelet(node: &str) -> Source {
        Source { component: "kubelet", host: node.to_owned(), manager: "kubelet" }
    }

    /// A controller of the controller manager.
    pub(crate) fn controller(component: &'static str) -> Source {
        Source { component, host: String::new(), manager: "kube-controller-manager" }
    }
}

/// `Normal` or `Warning`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing is wrong.
    Normal,
    /// Something may be wrong.
    Warning,
}

impl Kind {
    fn text(self) -> &'static str {
        match self {
            Kind::Normal => "Normal",
            Kind::Warning => "Warning",
        }
    }
}

/// What happened to whom.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// Its type.
    pub kind: Kind,
    /// Its reason, such as `Preempted`.
    pub reason: String,
    /// The sentence.
    pub message: String,
}

impl Report {
    pub(crate) fn normal(reason: &str, message: impl Into<String>) -> Report {
        Report { kind: Kind::Normal, reason: reason.into(), message: message.into() }
    }

    pub(crate) fn warning(reason: &str, message: impl Into<String>) -> Report {
        Report { kind: Kind::Warning, reason: reason.into(), message: message.into() }
    }
}

/// The namespace, and everything that must be equal for a repetition.
type Key = (String, String);

/// Writes events into the store and forgets them after an hour.
#[derive(Debug, Default)]
pub(crate) struct EventRecorder {
    /// Names of counted events, by namespace and everything that must be equal for a repetition.
    counted: BTreeMap<Key, String>,
    /// When which event was written, by namespace and name, and under which key it is counted.
    written: VecDeque<(Time, (String, String), Option<Key>)>,
}

/// `involvedObject` of an object: with UID and resourceVersion.
pub(crate) fn reference(object: &Value) -> Value {
    let mut reference = json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "name": pod::name(object)});
    for field in ["namespace", "resourceVersion", "uid"] {
        if let Some(value) = object["metadata"].get(field) {
            reference[field] = value.clone();
        }
    }
    reference
}

/// `involvedObject` of one container of a pod.
pub(crate) fn container_reference(pod: &Value, init: bool, container: &str) -> Value {
    let mut reference = reference(pod);
    let list = if init { "initContainers" } else { "containers" };
    reference["fieldPath"] = format!("spec.{list}{{{container}}}").into();
    reference
}

/// `involvedObject` without a UID, as the taint manager makes it.
pub(crate) fn bare_reference(pod: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "name": pod::name(pod), "namespace": pod::namespace(pod)})
}

impl EventRecorder {
    /// An event of the old kind: a repetition counts up the one before.
    pub(crate) fn count(&mut self, store: &mut Store, now: Time, source: &Source, object: Value, report: &Report) {
        let namespace = namespace_of(&object);
        let mut identity = object.clone();
        if let Some(fields) = identity.as_object_mut() {
            fields.remove("resourceVersion");
        }
        let key = (
            namespace.clone(),
            format!("{identity} {} {} {} {}", source.component, source.host, report.reason, report.message),
        );
        if let Some(name) = self.counted.get(&key)
            && count_up(store, now, &namespace, name, source)
        {
            return;
        }
        let event = old_event(now, source, object, report);
        if let Some(name) = self.write(store, now, &namespace, event, source.manager, Some(key.clone())) {
            self.counted.insert(key, name);
        }
    }

    /// An event of the scheduler.
    pub(crate) fn scheduler(
        &mut self,
        store: &mut Store,
        now: Time,
        action: &str,
        object: Value,
        related: Option<Value>,
        report: &Report,
    ) {
        let namespace = namespace_of(&object);
        let mut event = json!({
            "action": action, "eventTime": now.rfc3339_micro(), "firstTimestamp": null, "involvedObject": object,
            "lastTimestamp": null, "message": report.message, "reason": report.reason,
            "reportingComponent": "default-scheduler", "reportingInstance": "default-scheduler-lab", "source": {},
            "type": report.kind.text(),
        });
        if let Some(related) = related {
            event["related"] = related;
        }
        self.write(store, now, &namespace, event, "kube-scheduler", None);
    }

    fn write(
        &mut self,
        store: &mut Store,
        now: Time,
        namespace: &str,
        mut event: Value,
        manager: &str,
        key: Option<Key>,
    ) -> Option<String> {
        self.forget_old(store, now);
        let object = event["involvedObject"]["name"].as_str().unwrap_or_default().to_owned();
        let stamp = (now.0..).find(|stamp| store.get(Resource::Events, namespace, &name(&object, *stamp)).is_none())?;
        let name = name(&object, stamp);
        event["metadata"] = json!({"name": name, "namespace": namespace});
        store.create(now, Resource::Events, event, &Writer::new(manager)).ok()?;
        self.written.push_back((now, (namespace.to_owned(), name.clone()), key));
        Some(name)
    }

    fn forget_old(&mut self, store: &mut Store, now: Time) {
        while self.written.front().is_some_and(|(at, ..)| now.since(*at) > TTL) {
            let Some((_, (namespace, name), key)) = self.written.pop_front() else { return };
            // It may have gone with its namespace.
            let _ = store.delete(now, Resource::Events, &namespace, &name, &DeleteOptions::default());
            if let Some(key) = key.filter(|key| self.counted.get(key) == Some(&name)) {
                self.counted.remove(&key);
            }
        }
    }
}

/// `event.go`: the object's name and the time in hexadecimal.
fn name(object: &str, stamp: i64) -> String {
    format!("{object}.{stamp:x}")
}

/// Events of cluster-scoped objects live in `default`.
fn namespace_of(object: &Value) -> String {
    object["namespace"].as_str().filter(|ns| !ns.is_empty()).unwrap_or("default").to_owned()
}

fn old_event(now: Time, source: &Source, object: Value, report: &Report) -> Value {
    let mut from = json!({"component": source.component});
    if !source.host.is_empty() {
        from["host"] = source.host.as_str().into();
    }
    json!({
        "count": 1, "eventTime": null, "firstTimestamp": now.rfc3339(), "involvedObject": object,
        "lastTimestamp": now.rfc3339(), "message": report.message, "reason": report.reason,
        "reportingComponent": source.component, "reportingInstance": source.host, "source": from,
        "type": report.kind.text(),
    })
}

/// False where the event is gone by now.
fn count_up(store: &mut Store, now: Time, namespace: &str, name: &str, source: &Source) -> bool {
    let change = |event: &mut Value| {
        event["count"] = (event["count"].as_i64().unwrap_or(1) + 1).into();
        event["lastTimestamp"] = now.rfc3339().into();
    };
    store.update_status(now, Resource::Events, namespace, name, change, &Writer::new(source.manager)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "task", "namespace": "a", "uid": "u", "resourceVersion": "7"}})
    }

    fn events(store: &Store) -> Vec<(String, Value)> {
        let text = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
        store.list(Resource::Events, Some("a")).map(|event| (text(event, "reason"), event["count"].clone())).collect()
    }

    #[test]
    fn repetitions_count_up_until_the_event_is_an_hour_old() {
        let (mut store, mut recorder) = (Store::new(1), EventRecorder::default());
        let (start, kubelet) = (Time::from_secs(0), Source::kubelet("node-1"));
        let mounted = Report::warning("FailedMount", "no");
        for second in 0..3 {
            let mut later = task();
            later["metadata"]["resourceVersion"] = second.into();
            let now = start + Duration::from_secs(second);
            recorder.count(&mut store, now, &kubelet, reference(&later), &mounted);
        }
        assert_eq!(events(&store), [("FailedMount".to_owned(), json!(3))]);
        let later = start + Duration::from_secs(3700);
        recorder.count(&mut store, later, &kubelet, reference(&task()), &Report::normal("Killing", "x"));
        assert_eq!(events(&store), [("Killing".to_owned(), json!(1))]);
    }
}
