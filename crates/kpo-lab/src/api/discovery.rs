//! What is served: discovery, version, and as much OpenAPI as kubectl needs to leave validation to the server.

use serde_json::{Map, Value, json};

use super::request::{Request, Response};
use crate::error::ApiError;
use crate::resource::Resource;

/// The version that the lab behaves like.
pub const GIT_VERSION: &str = "v1.34.4+kpo-lab";

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

/// Answers a path that is no resource.
///
/// # Errors
/// 404 for any other.
pub(super) fn handle(request: &Request) -> Result<Response, ApiError> {
    let parts: Vec<&str> = request.path.split('/').filter(|part| !part.is_empty()).collect();
    let body = match parts.as_slice() {
        ["healthz" | "readyz" | "livez", ..] => return Ok(Response::Text { code: 200, body: "ok".to_owned() }),
        ["version"] => version(),
        ["api"] => json!({ "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [] }),
        ["apis"] => {
            json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups().map(group).collect::<Vec<_>>() })
        }
        ["apis", name] if groups().any(|known| known == *name) => group(name),
        ["api", "v1"] => resources(""),
        ["apis", name, "v1"] if groups().any(|known| known == *name) => resources(name),
        ["openapi", "v3"] => openapi_index(),
        ["openapi", "v3", "api", "v1"] => openapi(""),
        ["openapi", "v3", "apis", name, "v1"] if groups().any(|known| known == *name) => openapi(name),
        [] => {
            json!({ "paths": ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"] })
        }
        _ => return Err(ApiError::no_such_path()),
    };
    Ok(Response::object(200, body))
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "34", "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z", "goVersion": "", "compiler": "", "platform": "linux/amd64",
    })
}

/// The named groups. `events.k8s.io` is another form of the core group's events.
fn groups() -> impl Iterator<Item = &'static str> {
    ["apps", "authorization.k8s.io", "coordination.k8s.io", "events.k8s.io", "policy", "scheduling.k8s.io"].into_iter()
}

fn group(name: &str) -> Value {
    let version = json!({ "groupVersion": format!("{name}/v1"), "version": "v1" });
    json!({ "kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": [version], "preferredVersion": version })
}

fn resources(group: &str) -> Value {
    let mut list = Vec::new();
    for resource in served(group) {
        list.push(entry(resource.plural(), resource.kind(), resource.namespaced(), &VERBS, resource.short_names()));
        if resource.has_status() {
            let name = format!("{}/status", resource.plural());
            list.push(entry(&name, resource.kind(), resource.namespaced(), &["get", "patch", "update"], &[]));
        }
    }
    if group.is_empty() {
        let sub = |name: &str, kind: &str, verbs: &[&str]| entry(name, kind, true, verbs, &[]);
        list.push(sub("pods/attach", "PodAttachOptions", &["create", "get"]));
        list.push(sub("pods/binding", "Binding", &["create"]));
        let mut eviction = sub("pods/eviction", "Eviction", &["create"]);
        // `kubectl drain` evicts only where it finds the group.
        eviction["group"] = "policy".into();
        eviction["version"] = "v1".into();
        list.push(eviction);
        list.push(sub("pods/exec", "PodExecOptions", &["create", "get"]));
        list.push(sub("pods/log", "Pod", &["get"]));
    }
    if group == "authorization.k8s.io" {
        list.push(entry("selfsubjectaccessreviews", "SelfSubjectAccessReview", false, &["create"], &[]));
    }
    let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": list })
}

fn served(group: &str) -> Vec<Resource> {
    if group == "events.k8s.io" {
        return vec![Resource::Events];
    }
    Resource::ALL.into_iter().filter(|resource| resource.group() == group).collect()
}

fn entry(name: &str, kind: &str, namespaced: bool, verbs: &[&str], short: &[&str]) -> Value {
    let mut entry = json!({ "name": name, "singularName": kind.to_lowercase(), "namespaced": namespaced, "kind": kind, "verbs": verbs });
    if name.contains('/') {
        entry["singularName"] = "".into();
    }
    if !short.is_empty() {
        entry["shortNames"] = json!(short);
    }
    if name == "pods" {
        entry["categories"] = json!(["all"]);
    }
    entry
}

fn openapi_index() -> Value {
    let mut paths = Map::new();
    paths.insert("api/v1".into(), json!({ "serverRelativeURL": "/openapi/v3/api/v1" }));
    for group in groups() {
        paths
            .insert(format!("apis/{group}/v1"), json!({ "serverRelativeURL": format!("/openapi/v3/apis/{group}/v1") }));
    }
    json!({ "paths": paths })
}

/// Only what kubectl looks for before it leaves validation to the server: that PATCH takes `fieldValidation`
/// (`k8s.io/cli-runtime/pkg/resource/query_param_verifier_v3.go`).
fn openapi(group: &str) -> Value {
    let mut paths = Map::new();
    for resource in served(group) {
        let root = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/v1") };
        let place = if resource.namespaced() { "/namespaces/{namespace}" } else { "" };
        let parameter =
            json!({ "name": "fieldValidation", "in": "query", "schema": { "type": "string", "uniqueItems": true } });
        let kind = json!({ "group": group, "version": "v1", "kind": resource.kind() });
        let patch = json!({
            "operationId": format!("patch{}", resource.kind()), "parameters": [parameter], "responses": {},
            "x-kubernetes-action": "patch", "x-kubernetes-group-version-kind": kind,
        });
        paths.insert(format!("{root}{place}/{}/{{name}}", resource.plural()), json!({ "patch": patch }));
    }
    json!({ "openapi": "3.0.0", "info": { "title": "kpo-lab", "version": GIT_VERSION }, "paths": paths, "components": { "schemas": {} } })
}
