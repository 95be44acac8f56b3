//! An attempt's pod: the manifest as submitted, and what kpo adds to it on the way out.
//!
//! Pure functions on JSON. The manifest itself is never changed: each attempt is built from it anew, never from a live, mutated pod.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use kpo_core::{Create, Spec, marks};
use serde_json::{Map, Value, json};
use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;

/// A manifest takes at most this many bytes as an annotation (all of an object's annotations together may take 256 KiB).
pub const MANIFEST_LIMIT: usize = 128 * 1024;

/// What the names of kpo's labels, annotations, finalizers and gates begin with.
const PREFIX: &str = "kpo.rs/";

/// A compressed manifest is never unpacked to more than this: what stands in a pod may be anybody's.
const UNPACKED_LIMIT: u64 = 8 * 1024 * 1024;

/// Annotations that ask autoscalers not to move a pod: Karpenter's and the cluster autoscaler's.
const UNDISTURBED: [(&str, &str); 2] =
    [("karpenter.sh/do-not-disrupt", "true"), ("cluster-autoscaler.kubernetes.io/safe-to-evict", "false")];

/// The manifest cannot travel with the pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// It is too large, even compressed.
    #[error("the manifest takes {size} bytes compressed, and an annotation has room for {MANIFEST_LIMIT}")]
    TooLarge {
        /// Its size in bytes, compressed and encoded.
        size: usize,
    },
    /// It is not what kpo writes.
    #[error("the annotation kpo.rs/manifest cannot be read")]
    Unreadable,
}

/// Packs a manifest for `kpo.rs/manifest`: JSON, gzip, base64.
///
/// # Errors
/// [`PackError::TooLarge`].
pub fn pack(manifest: &Value) -> Result<String, PackError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Writing to memory does not fail.
    let packed = encoder.write_all(manifest.to_string().as_bytes()).and_then(|()| encoder.finish());
    let text = BASE64.encode(packed.unwrap_or_default());
    if text.len() > MANIFEST_LIMIT { Err(PackError::TooLarge { size: text.len() }) } else { Ok(text) }
}

/// Unpacks what [`pack`] made.
///
/// # Errors
/// [`PackError::Unreadable`].
pub fn unpack(text: &str) -> Result<Value, PackError> {
    inflate(text, UNPACKED_LIMIT)
}

fn inflate(text: &str, limit: u64) -> Result<Value, PackError> {
    let packed = BASE64.decode(text).map_err(|_| PackError::Unreadable)?;
    let mut json = Vec::new();
    let read = GzDecoder::new(packed.as_slice()).take(limit).read_to_end(&mut json);
    read.map_err(|_| PackError::Unreadable)?;
    serde_json::from_slice(&json).map_err(|_| PackError::Unreadable)
}

/// What of a task all its attempts share: the manifest as submitted, a v1 Pod. Clones share it.
#[derive(Clone)]
pub struct Template {
    /// Only packed: as a value it would be the largest part of a task that waits.
    packed: Arc<str>,
    /// Whether autoscalers are asked not to move its pods (`--disturb=forbid`, the default unless it is idempotent).
    pub undisturbed: bool,
}

/// The manifest may hold env values: it is never printed.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Template").field("undisturbed", &self.undisturbed).finish_non_exhaustive()
    }
}

impl Template {
    /// A template of a manifest.
    ///
    /// # Errors
    /// [`PackError::TooLarge`].
    pub fn new(manifest: Value, undisturbed: bool) -> Result<Self, PackError> {
        Ok(Self { packed: pack(&manifest)?.into(), undisturbed })
    }

    /// The template of a manifest that travelled with a pod.
    ///
    /// # Errors
    /// [`PackError::Unreadable`].
    pub(crate) fn carried(packed: &str) -> Result<Self, PackError> {
        unpack(packed).map(|_| Self { packed: packed.into(), undisturbed: false })
    }

    /// The manifest as submitted.
    pub fn manifest(&self) -> Value {
        inflate(&self.packed, u64::MAX).expect("it was packed here, or unpacked once before")
    }

    /// The body of an attempt's create.
    pub fn body(&self, spec: &Spec, create: &Create) -> Value {
        let mut pod = self.manifest();
        strip_marks(&mut pod);
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        self.mark(&mut pod, spec, create);
        let body = object(&mut pod, "spec");
        body.entry("restartPolicy").or_insert_with(|| json!("Never"));
        if let Some(seconds) = create.active_deadline_seconds {
            body.insert("activeDeadlineSeconds".to_owned(), json!(seconds));
        }
        if create.gated {
            list(body, "schedulingGates").push(json!({"name": marks::GATE}));
        }
        add_environment(body, spec, create);
        prefer_other_nodes(body, &create.avoid_nodes);
        pod
    }

    fn mark(&self, pod: &mut Value, spec: &Spec, create: &Create) {
        let metadata = object(pod, "metadata");
        metadata.insert("name".to_owned(), json!(create.name));
        metadata.insert("namespace".to_owned(), json!(spec.namespace));
        metadata.remove("generateName");
        if create.protect {
            list(metadata, "finalizers").push(json!(marks::FINALIZER));
        }
        let labels = entry(metadata, "labels");
        labels.insert(marks::TASK.to_owned(), json!(spec.task));
        labels.insert(marks::ATTEMPT.to_owned(), json!(create.attempt.to_string()));
        let annotations = entry(metadata, "annotations");
        for (key, value) in UNDISTURBED.iter().filter(|_| self.undisturbed) {
            annotations.entry(*key).or_insert_with(|| json!(value));
        }
        annotations.insert(marks::NONCE.to_owned(), json!(spec.nonce));
        annotations.insert(marks::OBSERVER.to_owned(), json!(create.observer));
        annotations.insert(marks::STATE.to_owned(), json!(create.state.to_json()));
        annotations.insert(marks::MANIFEST.to_owned(), json!(&*self.packed));
    }
}

/// Takes off what only kpo puts on: a pod that was read from a cluster carries what an earlier task said of itself, and how it ended.
pub(crate) fn strip_marks(pod: &mut Value) {
    let is_ours = |key: &str| key.starts_with(PREFIX);
    for key in ["labels", "annotations"] {
        let marked = pod["metadata"].get_mut(key).and_then(Value::as_object_mut);
        marked.into_iter().for_each(|marked| marked.retain(|key, _| !is_ours(key)));
    }
    let finalizers = pod["metadata"].get_mut("finalizers").and_then(Value::as_array_mut);
    finalizers.into_iter().for_each(|list| list.retain(|finalizer| !finalizer.as_str().is_some_and(is_ours)));
    let gates = pod["spec"].get_mut("schedulingGates").and_then(Value::as_array_mut);
    gates.into_iter().for_each(|list| list.retain(|gate| !gate["name"].as_str().is_some_and(is_ours)));
}

/// Whether a pod asks autoscalers not to move it.
pub fn is_undisturbed(pod: &Value) -> bool {
    UNDISTURBED.iter().all(|(key, value)| pod["metadata"]["annotations"][*key] == *value)
}

/// `KPO_TASK`, `KPO_ATTEMPT` and `KPO_PREVIOUS_VERDICT` for every container of the manifest. What the user set under these names goes.
fn add_environment(body: &mut Map<String, Value>, spec: &Spec, create: &Create) {
    let ours = [
        (marks::ENV_TASK, spec.task.clone()),
        (marks::ENV_ATTEMPT, create.attempt.to_string()),
        (marks::ENV_PREVIOUS_VERDICT, create.previous_verdict.clone()),
    ];
    for key in ["initContainers", "containers"] {
        let containers = body.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers.filter_map(Value::as_object_mut) {
            let env = list(container, "env");
            env.retain(|variable| ours.iter().all(|(name, _)| variable["name"] != *name));
            env.extend(ours.iter().map(|(name, value)| json!({"name": name, "value": value})));
        }
    }
}

/// From the second disruption on one node, others are preferred; they are never required, or a task could wait for ever.
fn prefer_other_nodes(body: &mut Map<String, Value>, avoid: &[String]) {
    if avoid.is_empty() {
        return;
    }
    let expression = json!({"key": "kubernetes.io/hostname", "operator": "NotIn", "values": avoid});
    let preference = json!({"weight": 100, "preference": {"matchExpressions": [expression]}});
    let affinity = entry(entry(body, "affinity"), "nodeAffinity");
    list(affinity, "preferredDuringSchedulingIgnoredDuringExecution").push(preference);
}

fn object<'a>(value: &'a mut Value, key: &str) -> &'a mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    let map = value.as_object_mut().expect("it was made an object above");
    entry(map, key)
}

fn entry<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = map.entry(key).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was made an object above")
}

fn list<'a>(map: &'a mut Map<String, Value>, key: &str) -> &'a mut Vec<Value> {
    let value = map.entry(key).or_insert_with(|| json!([]));
    if !value.is_array() {
        *value = json!([]);
    }
    value.as_array_mut().expect("it was made a list above")
}

#[cfg(test)]
mod tests {
    use super::*;
    use kpo_core::{Carried, STATE_VERSION, Time};

    fn create(spec: &Spec) -> Create {
        Create {
            name: "t-2".to_owned(),
            attempt: 2,
            gated: true,
            protect: true,
            active_deadline_seconds: Some(60),
            avoid_nodes: vec!["node-1".to_owned()],
            sent_before: None,
            previous_verdict: "disrupted/preemption/never".to_owned(),
            observer: "me/1".to_owned(),
            state: Carried {
                version: STATE_VERSION,
                spec: spec.clone(),
                began: Time(0),
                attempts: vec![],
                verdict: None,
            },
        }
    }

    fn manifest() -> Value {
        json!({"metadata": {"generateName": "x-", "labels": {"app": "a"}}, "spec": {
            "initContainers": [{"name": "init", "image": "i"}],
            "containers": [{"name": "base", "image": "b", "env": [{"name": "A", "value": "1"}, {"name": "KPO_ATTEMPT", "value": "9"}]}],
            "futureField": {"kept": true}}})
    }

    #[test]
    fn the_body_is_the_manifest_with_what_kpo_adds_and_nothing_else() {
        let spec = Spec::minimal("t", "ns", "n0nce");
        let template = Template::new(manifest(), true).unwrap();
        let body = template.body(&spec, &create(&spec));
        assert_eq!(template.manifest(), manifest(), "what was handed in stays as it is");
        assert_eq!(body["metadata"]["name"], "t-2");
        assert_eq!(body["metadata"]["namespace"], "ns");
        assert!(body["metadata"].get("generateName").is_none());
        assert_eq!(body["metadata"]["labels"], json!({"app": "a", "kpo.rs/task": "t", "kpo.rs/attempt": "2"}));
        assert_eq!(body["metadata"]["finalizers"], json!(["kpo.rs/protect"]));
        assert_eq!(body["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"], "true");
        assert_eq!(body["metadata"]["annotations"]["kpo.rs/nonce"], "n0nce");
        assert_eq!(body["spec"]["futureField"], json!({"kept": true}));
        assert_eq!(body["spec"]["restartPolicy"], "Never");
        assert_eq!(body["spec"]["activeDeadlineSeconds"], 60);
        assert_eq!(body["spec"]["schedulingGates"], json!([{"name": "kpo.rs/backoff"}]));
        let ours = json!([{"name": "KPO_TASK", "value": "t"}, {"name": "KPO_ATTEMPT", "value": "2"},
            {"name": "KPO_PREVIOUS_VERDICT", "value": "disrupted/preemption/never"}]);
        assert_eq!(body["spec"]["initContainers"][0]["env"], ours);
        assert_eq!(body["spec"]["containers"][0]["env"][0], json!({"name": "A", "value": "1"}));
        assert_eq!(body["spec"]["containers"][0]["env"].as_array().unwrap()[1..], ours.as_array().unwrap()[..]);
        let preferred = &body["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
        assert_eq!(preferred[0]["preference"]["matchExpressions"][0]["values"], json!(["node-1"]));
    }

    #[test]
    fn a_users_own_word_to_autoscalers_stays() {
        let mut manifest = manifest();
        manifest["metadata"]["annotations"] = json!({"karpenter.sh/do-not-disrupt": "false"});
        let spec = Spec::minimal("t", "ns", "n");
        let body = Template::new(manifest, true).unwrap().body(&spec, &create(&spec));
        assert_eq!(body["metadata"]["annotations"]["karpenter.sh/do-not-disrupt"], "false");
        let free = Template::new(self::manifest(), false).unwrap().body(&spec, &create(&spec));
        assert!(free["metadata"]["annotations"].get("karpenter.sh/do-not-disrupt").is_none());
    }

    /// What a pod that was read from a cluster carries of an earlier task is nobody's wish.
    #[test]
    fn the_marks_of_an_earlier_task_are_taken_off() {
        let spec = Spec::minimal("t", "ns", "n");
        let first = Create { gated: false, protect: false, avoid_nodes: vec![], ..create(&spec) };
        let clean = Template::new(manifest(), true).unwrap().body(&spec, &first);
        let ours = |key: &str| key.starts_with("kpo.rs/");
        let added = |body: &Value, at: &str| -> Vec<String> {
            body["metadata"][at].as_object().unwrap().keys().filter(|key| ours(key)).cloned().collect()
        };
        for (at, key) in [
            ("annotations", marks::STOPPING),
            ("annotations", marks::EXPIRES),
            ("annotations", marks::NONCE),
            ("annotations", marks::OBSERVER),
            ("annotations", marks::STATE),
            ("annotations", marks::MANIFEST),
            ("annotations", "kpo.rs/of-a-later-version"),
            ("labels", marks::TASK),
            ("labels", marks::ATTEMPT),
            ("labels", "kpo.rs/of-a-later-version"),
        ] {
            let mut old = manifest();
            old["metadata"][at][key] = json!("old");
            let body = Template::new(old, true).unwrap().body(&spec, &first);
            assert_eq!(added(&body, at), added(&clean, at), "{key}");
            assert_ne!(body["metadata"][at][key], "old", "{key}");
        }
        let mut old = manifest();
        old["metadata"]["finalizers"] = json!([marks::FINALIZER, "example.org/archive"]);
        old["spec"]["schedulingGates"] = json!([{"name": marks::GATE}, {"name": "example.org/license"}]);
        let body = Template::new(old, true).unwrap().body(&spec, &first);
        assert_eq!(body["metadata"]["finalizers"], json!(["example.org/archive"]));
        assert_eq!(body["spec"]["schedulingGates"], json!([{"name": "example.org/license"}]));
    }

    #[test]
    fn a_manifest_survives_the_round_trip_and_one_too_large_is_refused() {
        assert_eq!(unpack(&pack(&manifest()).unwrap()).unwrap(), manifest());
        let mut noise = String::new();
        let mut word: u64 = 1;
        while noise.len() < 400_000 {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            noise += &format!("{word:x}");
        }
        assert!(matches!(pack(&json!({ "noise": noise })), Err(PackError::TooLarge { .. })));
        for bad in ["", "%%%", "aGVsbG8="] {
            assert_eq!(unpack(bad), Err(PackError::Unreadable));
        }
    }
}
