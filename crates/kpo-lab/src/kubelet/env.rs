//! A container's environment: `env` and `envFrom` with what they refer to (`makeEnvironmentVariables` in `kubelet_pods.go`).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::pod;
use crate::resource::Resource;
use crate::runtime::{EnvVar, expand};
use crate::store::Store;

/// What else a reference may ask for.
pub(super) struct Facts<'a> {
    pub store: &'a Store,
    pub pod: &'a Value,
    pub host_ip: &'a str,
    pub pod_ip: &'a str,
}

/// The environment in order, or the sentence that `CreateContainerConfigError` carries.
pub(super) fn environment(facts: &Facts<'_>, container: &Value) -> Result<Vec<EnvVar>, String> {
    let mut env = vec![EnvVar::new("HOSTNAME", pod::name(facts.pod))];
    for from in pod::list(container, "envFrom") {
        env.extend(facts.bulk(from)?);
    }
    for entry in pod::list(container, "env") {
        let name = entry["name"].as_str().unwrap_or_default();
        if let Some(value) = facts.value(entry, container, &env)? {
            env.push(EnvVar::new(name, value));
        }
    }
    Ok(env)
}

fn known(env: &[EnvVar]) -> BTreeMap<&str, &str> {
    env.iter().map(|var| (var.name.as_str(), var.value.as_str())).collect()
}

impl Facts<'_> {
    fn value(&self, entry: &Value, container: &Value, env: &[EnvVar]) -> Result<Option<String>, String> {
        let Some(from) = entry.get("valueFrom").filter(|from| !from.is_null()) else {
            let known = known(env);
            let text = entry["value"].as_str().unwrap_or_default();
            return Ok(Some(expand(text, |name| known.get(name).map(|value| (*value).to_owned()))));
        };
        if let Some(field) = from.get("fieldRef") {
            let path = field["fieldPath"].as_str().unwrap_or_default();
            return self.field(path).map(Some).ok_or_else(|| format!("unsupported fieldPath: {path}"));
        }
        if let Some(resource) = from.get("resourceFieldRef") {
            return Ok(Some(resource_field(resource, container)));
        }
        if let Some(key) = from.get("secretKeyRef") {
            return self.key(Resource::Secrets, key);
        }
        self.key(Resource::ConfigMaps, &from["configMapKeyRef"])
    }

    fn bulk(&self, from: &Value) -> Result<Vec<EnvVar>, String> {
        let secret = from.get("secretRef");
        let (resource, reference) = match secret {
            Some(reference) => (Resource::Secrets, reference),
            None => (Resource::ConfigMaps, &from["configMapRef"]),
        };
        let prefix = from["prefix"].as_str().unwrap_or_default();
        let Some(data) = self.data(resource, reference)? else { return Ok(Vec::new()) };
        Ok(data.into_iter().map(|(key, value)| EnvVar::new(format!("{prefix}{key}"), text(&value))).collect())
    }

    fn key(&self, resource: Resource, reference: &Value) -> Result<Option<String>, String> {
        let Some(data) = self.data(resource, reference)? else { return Ok(None) };
        let key = reference["key"].as_str().unwrap_or_default();
        match data.get(key) {
            Some(value) => Ok(Some(text(value))),
            None if reference["optional"] == true => Ok(None),
            None => Err(format!(
                "couldn't find key {key} in {} {}/{}",
                resource.kind(),
                pod::namespace(self.pod),
                reference["name"].as_str().unwrap_or_default()
            )),
        }
    }

    /// The content of a configMap or secret; None where it is optional and missing.
    pub(super) fn data(
        &self,
        resource: Resource,
        reference: &Value,
    ) -> Result<Option<BTreeMap<String, Vec<u8>>>, String> {
        let name = reference["name"].as_str().or(reference["secretName"].as_str()).unwrap_or_default();
        match self.store.get(resource, pod::namespace(self.pod), name) {
            Some(object) => Ok(Some(content(&object))),
            None if reference["optional"] == true => Ok(None),
            None => Err(format!("{} \"{name}\" not found", resource.kind().to_lowercase())),
        }
    }

    /// A field of the downward API; None where there is no such field.
    pub(super) fn field(&self, path: &str) -> Option<String> {
        let meta = &self.pod["metadata"];
        let plain = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let map = |value: &Value| {
            let entries = value.as_object().into_iter().flatten();
            entries.map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("\n")
        };
        let subscript = |prefix: &str| path.strip_prefix(prefix)?.strip_suffix("']").map(str::to_owned);
        if let Some(key) = subscript("metadata.labels['") {
            return Some(plain(&meta["labels"][key]));
        }
        if let Some(key) = subscript("metadata.annotations['") {
            return Some(plain(&meta["annotations"][key]));
        }
        Some(match path {
            "metadata.name" | "metadata.namespace" | "metadata.uid" => plain(&meta[&path["metadata.".len()..]]),
            "metadata.labels" => map(&meta["labels"]),
            "metadata.annotations" => map(&meta["annotations"]),
            "spec.nodeName" => pod::node_name(self.pod).to_owned(),
            "spec.serviceAccountName" => plain(&self.pod["spec"]["serviceAccountName"]),
            "status.hostIP" | "status.hostIPs" => self.host_ip.to_owned(),
            "status.podIP" | "status.podIPs" => self.pod_ip.to_owned(),
            _ => return None,
        })
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// `data` (base64 in secrets), `binaryData` and `stringData`.
fn content(object: &Value) -> BTreeMap<String, Vec<u8>> {
    let entries = |field: &str| object[field].as_object().into_iter().flatten();
    let plain = |value: &Value| value.as_str().unwrap_or_default().as_bytes().to_vec();
    let decoded = |value: &Value| STANDARD.decode(value.as_str().unwrap_or_default()).unwrap_or_default();
    let secret = object["kind"] == "Secret";
    let mut data: BTreeMap<String, Vec<u8>> =
        entries("data").map(|(key, value)| (key.clone(), if secret { decoded(value) } else { plain(value) })).collect();
    data.extend(entries("binaryData").map(|(key, value)| (key.clone(), decoded(value))));
    data.extend(entries("stringData").map(|(key, value)| (key.clone(), plain(value))));
    data
}

/// `resourceFieldRef` of the container itself: whole units rounded up, cpu in cores, divided by `divisor` (default 1).
fn resource_field(reference: &Value, container: &Value) -> String {
    let path = reference["resource"].as_str().unwrap_or_default();
    let (kind, resource) = path.split_once('.').unwrap_or(("limits", path));
    let amount = pod::milli(&container["resources"][kind][resource]);
    let divisor = Some(pod::milli(&reference["divisor"])).filter(|divisor| *divisor > 0).unwrap_or(1000);
    ((amount + divisor - 1) / divisor).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Writer;
    use crate::time::Time;
    use serde_json::json;

    fn store() -> Store {
        let mut store = Store::new(1);
        let secret = json!({"metadata": {"name": "s", "namespace": "a"}, "data": {"K": STANDARD.encode("v")}});
        store.create(Time::from_secs(0), Resource::Secrets, secret, &Writer::new("t")).expect("created");
        store
    }

    fn resolve(container: Value) -> Result<Vec<(String, String)>, String> {
        let store = store();
        let pod =
            json!({"metadata": {"name": "task", "namespace": "a", "labels": {"x": "1"}}, "spec": {"nodeName": "n"}});
        let facts = Facts { store: &store, pod: &pod, host_ip: "h", pod_ip: "p" };
        let env = environment(&facts, &container)?;
        Ok(env.into_iter().skip(1).map(|var| (var.name, var.value)).collect())
    }

    #[test]
    fn references_are_resolved_in_order_and_expanded() {
        let container = json!({
            "envFrom": [{"prefix": "P_", "secretRef": {"name": "s"}}],
            "env": [
                {"name": "A", "value": "1"},
                {"name": "B", "value": "$(A)$(P_K)$(NONE)"},
                {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['x']"}}},
                {"name": "M", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": true}}},
            ],
        });
        let expected = [("P_K", "v"), ("A", "1"), ("B", "1v$(NONE)"), ("L", "1")];
        let expected: Vec<(String, String)> = expected.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        assert_eq!(resolve(container), Ok(expected));
    }

    #[test]
    fn what_is_missing_is_named_as_upstream_names_it() {
        let from = |from: Value| resolve(json!({"env": [{"name": "A", "valueFrom": from}]}));
        let absent = resolve(json!({"envFrom": [{"secretRef": {"name": "nope"}}]}));
        assert_eq!(absent, Err("secret \"nope\" not found".to_owned()));
        let absent = from(json!({"configMapKeyRef": {"name": "nope", "key": "k"}}));
        assert_eq!(absent, Err("configmap \"nope\" not found".to_owned()));
        let absent = from(json!({"secretKeyRef": {"name": "s", "key": "k"}}));
        assert_eq!(absent, Err("couldn't find key k in Secret a/s".to_owned()));
    }
}
