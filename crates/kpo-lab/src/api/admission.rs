//! Admission: what upstream's plugins and a mutating webhook do to an object on its way in, and what they refuse (403).

use std::sync::Arc;

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::resource::Resource;
use crate::store::Store;

mod limits;
mod pod_security;
pub mod quota;

/// A mutating webhook for pods: what it does to each pod that is created. The default does nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Injection {
    /// A container to append, as a manifest has it. None: none.
    pub container: Option<Value>,
    /// An init container to put first. None: none.
    pub init_container: Option<Value>,
    /// Renames the first container with the first name to the second. None: leaves it.
    pub rename: Option<(String, String)>,
    /// Refuses every pod with this message. None: admits them.
    pub deny: Option<String>,
}

impl Injection {
    /// A service mesh's usual doing: a sidecar container `istio-proxy` and an init container `istio-init`. Where images are only names they run
    /// all the same: the one until it is told to end, the other not at all.
    pub fn mesh() -> Injection {
        let container =
            |name: &str, args: &[&str]| Some(json!({ "name": name, "image": "istio/proxyv2", "args": args }));
        Injection {
            container: container("istio-proxy", &["sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait"]),
            init_container: container("istio-init", &["true"]),
            ..Injection::default()
        }
    }

    fn apply(&self, pod: &mut Value) -> Result<(), ApiError> {
        if let Some(message) = &self.deny {
            let message = format!("admission webhook \"inject.lab.kpo.rs\" denied the request: {message}");
            return Err(ApiError::new(403, "Forbidden", message));
        }
        let spec = &mut pod["spec"];
        if let Some((from, to)) = &self.rename {
            let containers = spec["containers"].as_array_mut().into_iter().flatten();
            for container in containers.filter(|c| c["name"] == from.as_str()).take(1) {
                container["name"] = to.clone().into();
            }
        }
        inject(spec, "containers", self.container.as_ref(), false);
        inject(spec, "initContainers", self.init_container.as_ref(), true);
        Ok(())
    }
}

fn inject(spec: &mut Value, list: &str, container: Option<&Value>, first: bool) {
    let Some(container) = container else { return };
    if !spec[list].is_array() {
        spec[list] = json!([]);
    }
    let list = spec[list].as_array_mut().expect("made a list above");
    if list.iter().all(|known| known["name"] != container["name"]) {
        let at = if first { 0 } else { list.len() };
        list.insert(at, container.clone());
    }
}

/// Whether the namespace of a new object is there, and takes it
/// (`plugin/namespace/lifecycle/admission.go`).
///
/// # Errors
/// 404 without the namespace, 403 while it is being terminated.
pub(super) fn namespace(store: &Store, resource: Resource, ns: &str, name: &str) -> Result<(), ApiError> {
    if !resource.namespaced() {
        return Ok(());
    }
    let found = store.get(Resource::Namespaces, "", ns);
    let found = found.ok_or_else(|| ApiError::not_found(Resource::Namespaces, ns))?;
    if found["status"]["phase"] != "Terminating" {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {ns} because it is being terminated");
    let mut error = ApiError::forbidden(resource, name, &why);
    if let Some(details) = &mut error.details {
        let message = format!("namespace {ns} is being terminated");
        details["causes"] =
            json!([{ "reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace" }]);
    }
    Err(error)
}

/// What admission does to a new pod, before validation.
///
/// # Errors
/// 403 by whichever plugin refuses.
pub(super) fn mutate_pod(store: &Store, ns: &str, pod: &mut Value) -> Result<(), ApiError> {
    if let Some(injection) = store.injection() {
        injection.apply(pod)?;
        super::defaults::apply(Resource::Pods, pod);
    }
    service_account(store, ns, pod)?;
    priority(store, pod)?;
    tolerations(&mut pod["spec"]);
    limits::apply(store, ns, pod)
}

/// What admission does to a pod that is to replace another: its priority stays where it is left out, and the default tolerations come again.
pub(super) fn mutate_update(old: &Value, pod: &mut Value) {
    let spec = &mut pod["spec"];
    for field in ["priority", "preemptionPolicy"] {
        if let (true, Some(known)) = (spec[field].is_null(), old["spec"].get(field)) {
            spec[field] = known.clone();
        }
    }
    tolerations(spec);
}

/// What admission checks once a new pod is valid.
///
/// # Errors
/// 403 by Pod Security or a quota.
pub(super) fn check_pod(store: &Store, ns: &str, pod: &Value) -> Result<(), ApiError> {
    pod_security::check(store, ns, pod)?;
    quota::check(store, ns, pod)
}

fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}

fn forbid(pod: &Value, why: &str) -> ApiError {
    ApiError::forbidden(Resource::Pods, name(pod), why)
}

/// `plugin/pkg/admission/serviceaccount`: the default account, and whether the named one is there.
fn service_account(store: &Store, ns: &str, pod: &mut Value) -> Result<(), ApiError> {
    let spec = &pod["spec"];
    let named = spec["serviceAccountName"].as_str().or(spec["serviceAccount"].as_str());
    let account = named.filter(|name| !name.is_empty()).unwrap_or("default").to_owned();
    if account != "default" && store.get(Resource::ServiceAccounts, ns, &account).is_none() {
        let why = format!("error looking up service account {ns}/{account}: serviceaccount {account:?} not found");
        return Err(forbid(pod, &why));
    }
    pod["spec"]["serviceAccountName"] = account.clone().into();
    pod["spec"]["serviceAccount"] = account.into();
    Ok(())
}

/// The two priorities that every cluster has (`pkg/apis/scheduling/types.go`).
fn system_class(name: &str) -> Option<Arc<Value>> {
    let value = match name {
        "system-node-critical" => 2_000_001_000,
        "system-cluster-critical" => 2_000_000_000,
        _ => return None,
    };
    Some(Arc::new(json!({ "metadata": { "name": name }, "value": value })))
}

fn class_of(store: &Store, named: &str) -> Option<Arc<Value>> {
    if named.is_empty() {
        let mut classes = store.list(Resource::PriorityClasses, None);
        return classes.find(|class| class["globalDefault"] == true).cloned();
    }
    store.get(Resource::PriorityClasses, "", named).or_else(|| system_class(named))
}

/// `plugin/pkg/admission/priority`.
fn priority(store: &Store, pod: &mut Value) -> Result<(), ApiError> {
    let named = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
    let class = class_of(store, &named);
    if class.is_none() && !named.is_empty() {
        return Err(forbid(pod, &format!("no PriorityClass with name {named} was found")));
    }
    let computed = class.as_ref().and_then(|class| class["value"].as_i64()).unwrap_or(0);
    if let Some(given) = pod["spec"]["priority"].as_i64().filter(|given| *given != computed) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; \
             priority admission controller computed {computed} from the given PriorityClass name"
        );
        return Err(forbid(pod, &why));
    }
    let spec = &mut pod["spec"];
    spec["priority"] = computed.into();
    if let Some(class) = &class {
        spec["priorityClassName"] = class["metadata"]["name"].clone();
    }
    let policy = class.and_then(|class| class["preemptionPolicy"].as_str().map(str::to_owned));
    let policy = policy.unwrap_or_else(|| "PreemptLowerPriority".to_owned());
    if let Some(given) = spec["preemptionPolicy"].as_str().filter(|given| *given != policy) {
        let why = format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; \
             priority admission controller computed {policy} from the given PriorityClass name"
        );
        return Err(forbid(pod, &why));
    }
    spec["preemptionPolicy"] = policy.into();
    Ok(())
}

/// `plugin/pkg/admission/defaulttolerationseconds`: 300 s on a node that is not ready, or unreachable.
fn tolerations(spec: &mut Value) {
    if !spec["tolerations"].is_array() {
        spec["tolerations"] = json!([]);
    }
    let list = spec["tolerations"].as_array_mut().expect("made a list above");
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = list.iter().any(|toleration| {
            let text = |field: &str| toleration[field].as_str().unwrap_or_default();
            ["", "NoExecute"].contains(&text("effect")) && (text("key") == key || text("key").is_empty())
        });
        if !tolerated {
            list.push(json!({ "effect": "NoExecute", "key": key, "operator": "Exists", "tolerationSeconds": 300 }));
        }
    }
}
