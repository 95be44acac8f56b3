//! What a request asks for: verb, resource, name, query and body.

use std::fmt;

use http::Method;
use serde_json::Value;

/// A verb of Kubernetes' RBAC, as a rule in a Role would name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Reads one object (or its log).
    Get,
    /// Reads a collection.
    List,
    /// Follows a collection.
    Watch,
    /// Makes an object (or opens an exec).
    Create,
    /// Replaces an object.
    Update,
    /// Changes a part of an object.
    Patch,
    /// Removes an object.
    Delete,
}

impl Verb {
    /// The HTTP method that carries the verb.
    pub(super) fn method(self) -> Method {
        match self {
            Verb::Get | Verb::List | Verb::Watch => Method::GET,
            Verb::Create => Method::POST,
            Verb::Update => Method::PUT,
            Verb::Patch => Method::PATCH,
            Verb::Delete => Method::DELETE,
        }
    }

    /// The verb as RBAC spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
        }
    }

    /// Whether sending the request a second time, after the first one may have had its effect, changes nothing that the first one did
    /// not. A create is the only verb for which this is false: it is never repeated blindly. Patches and deletes of this crate carry a UID
    /// and, where it matters, a resourceVersion: a repetition meets its own effect as 409 or 404.
    pub fn is_repeatable(self) -> bool {
        self != Verb::Create
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a request is about, in the terms of RBAC: enough to name the rule that would allow it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The verb.
    pub verb: Verb,
    /// API group, `""` for the core group.
    pub group: &'static str,
    /// Version within the group, such as `v1`.
    pub version: &'static str,
    /// Resource in the plural, such as `pods`.
    pub resource: &'static str,
    /// Subresource, such as `log`; `None` for the object itself.
    pub subresource: Option<&'static str>,
    /// Namespace; `None` for resources of the cluster and for all namespaces.
    pub namespace: Option<String>,
    /// Object name; `None` for a collection.
    pub name: Option<String>,
}

impl Target {
    /// The resource with its subresource as a Role's `resources` lists it: `pods`, `pods/log`.
    pub fn rbac_resource(&self) -> String {
        match self.subresource {
            Some(sub) => format!("{}/{sub}", self.resource),
            None => self.resource.to_owned(),
        }
    }

    /// The path of the request, without a query.
    pub fn path(&self) -> String {
        let mut path = match self.group {
            "" => format!("/api/{}", self.version),
            group => format!("/apis/{group}/{}", self.version),
        };
        if let Some(namespace) = &self.namespace {
            path.push_str("/namespaces/");
            push_segment(&mut path, namespace);
        }
        path.push('/');
        path.push_str(self.resource);
        if let Some(name) = &self.name {
            path.push('/');
            push_segment(&mut path, name);
        }
        if let Some(sub) = self.subresource {
            path.push('/');
            path.push_str(sub);
        }
        path
    }
}

/// `get pods "task-1" in namespace "batch"`: what is tried, on what.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.rbac_resource())?;
        if let Some(name) = &self.name {
            write!(f, " {name:?}")?;
        }
        if let Some(namespace) = &self.namespace {
            write!(f, " in namespace {namespace:?}")?;
        }
        Ok(())
    }
}

/// One request to the API server: a raw JSON body, no typed objects (they drop fields that they do not know).
///
/// ```
/// use kpo::request::ApiRequest;
/// let request = ApiRequest::list("batch", "pods").query("labelSelector", "kpo.rs/task=nightly");
/// assert_eq!(request.uri(), "/api/v1/namespaces/batch/pods?labelSelector=kpo.rs%2Ftask%3Dnightly");
/// assert_eq!(request.target.to_string(), r#"list pods in namespace "batch""#);
/// ```
#[derive(Clone)]
pub struct ApiRequest {
    /// Verb, resource and name.
    pub target: Target,
    /// Query parameters, in the order in which they are sent, not yet encoded.
    pub query: Vec<(&'static str, String)>,
    /// The body with its content type; `None` sends none.
    pub body: Option<(ContentType, Value)>,
}

/// Bodies hold a task's manifest, and that its secrets: only their size is shown.
impl fmt::Debug for ApiRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiRequest")
            .field("target", &self.target)
            .field("query", &self.query)
            .field("has_body", &self.body.is_some())
            .finish()
    }
}

/// The media type of a request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    /// `application/json`.
    Json,
    /// `application/merge-patch+json` (RFC 7386).
    MergePatch,
    /// `application/strategic-merge-patch+json`: lists of the built-in kinds are merged by their keys, entries deleted by name.
    StrategicMergePatch,
}

impl ContentType {
    /// The header's value.
    pub fn as_str(self) -> &'static str {
        match self {
            ContentType::Json => "application/json",
            ContentType::MergePatch => "application/merge-patch+json",
            ContentType::StrategicMergePatch => "application/strategic-merge-patch+json",
        }
    }
}

impl ApiRequest {
    /// A request for a target, without query and body.
    pub fn new(target: Target) -> Self {
        Self { target, query: Vec::new(), body: None }
    }

    /// Reads the named object of the core group.
    pub fn get(namespace: &str, resource: &'static str, name: &str) -> Self {
        Self::core(Verb::Get, namespace, resource, Some(name))
    }

    /// Lists a resource of the core group in a namespace.
    pub fn list(namespace: &str, resource: &'static str) -> Self {
        Self::core(Verb::List, namespace, resource, None)
    }

    /// Watches a resource of the core group in a namespace; adds `watch=true`.
    pub fn watch(namespace: &str, resource: &'static str) -> Self {
        Self::core(Verb::Watch, namespace, resource, None).query("watch", "true")
    }

    /// Creates an object of the core group.
    pub fn create(namespace: &str, resource: &'static str, object: Value) -> Self {
        Self::core(Verb::Create, namespace, resource, None).json(object)
    }

    /// Changes the named object by a JSON merge patch (RFC 7386).
    pub fn merge_patch(namespace: &str, resource: &'static str, name: &str, patch: Value) -> Self {
        Self::patch(namespace, resource, name, (ContentType::MergePatch, patch))
    }

    /// Changes the named object by a strategic merge patch.
    pub fn strategic_merge_patch(namespace: &str, resource: &'static str, name: &str, patch: Value) -> Self {
        Self::patch(namespace, resource, name, (ContentType::StrategicMergePatch, patch))
    }

    fn patch(namespace: &str, resource: &'static str, name: &str, patch: (ContentType, Value)) -> Self {
        Self { body: Some(patch), ..Self::core(Verb::Patch, namespace, resource, Some(name)) }
    }

    /// Deletes the named object; `options` is a `DeleteOptions`.
    pub fn delete(namespace: &str, resource: &'static str, name: &str, options: Value) -> Self {
        Self::core(Verb::Delete, namespace, resource, Some(name)).json(options)
    }

    /// Any verb on a namespaced resource of the core group. An empty namespace: all of them.
    pub fn core(verb: Verb, namespace: &str, resource: &'static str, name: Option<&str>) -> Self {
        Self::new(Target {
            verb,
            group: "",
            version: "v1",
            resource,
            subresource: None,
            namespace: Some(namespace).filter(|namespace| !namespace.is_empty()).map(str::to_owned),
            name: name.map(str::to_owned),
        })
    }

    /// The same request for a subresource, such as `log`.
    #[must_use]
    pub fn subresource(mut self, subresource: &'static str) -> Self {
        self.target.subresource = Some(subresource);
        self
    }

    /// Adds a query parameter.
    #[must_use]
    pub fn query(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.query.push((key, value.into()));
        self
    }

    /// Sets a JSON body.
    #[must_use]
    pub fn json(mut self, body: Value) -> Self {
        self.body = Some((ContentType::Json, body));
        self
    }

    /// Path and query as they are sent.
    pub fn uri(&self) -> String {
        let mut uri = self.target.path();
        for (index, (key, value)) in self.query.iter().enumerate() {
            uri.push(if index == 0 { '?' } else { '&' });
            push_encoded(&mut uri, key);
            uri.push('=');
            push_encoded(&mut uri, value);
        }
        uri
    }
}

/// Encodes one segment of a path. The API server splits the path after it has decoded it (Go's `URL.Path`): what no name can hold
/// (`IsValidPathSegmentName` in `k8s.io/apimachinery/pkg/api/validation/path`) is encoded twice, so that no object has that name, and no
/// other is meant.
fn push_segment(into: &mut String, name: &str) {
    if name.contains(['/', '%']) || matches!(name, "." | "..") {
        let mut once = String::new();
        name.bytes().for_each(|byte| once.push_str(&format!("%{byte:02X}")));
        push_encoded(into, &once);
    } else {
        push_encoded(into, name);
    }
}

/// Percent-encodes everything but the unreserved characters of RFC 3986, section 2.3.
fn push_encoded(into: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                into.push(byte as char);
            }
            _ => into.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_slash_stays_one_segment() {
        let request = ApiRequest::get("a b", "pods", "x").subresource("log");
        assert_eq!(request.uri(), "/api/v1/namespaces/a%20b/pods/x/log");
        assert_eq!(request.target.rbac_resource(), "pods/log");
        for (name, sent) in
            [("x/log", "%2578%252F%256C%256F%2567"), ("..", "%252E%252E"), (".", "%252E"), ("%2F", "%2525%2532%2546")]
        {
            let path = ApiRequest::get("n", "pods", name).uri();
            assert_eq!(path, format!("/api/v1/namespaces/n/pods/{sent}"));
            let decoded = percent_decoded(&path);
            assert_eq!(decoded.matches('/').count(), path.matches('/').count(), "{decoded}");
        }
    }

    /// As Go decodes a path before it is split.
    fn percent_decoded(path: &str) -> String {
        let mut decoded = String::new();
        let mut rest = path;
        while let Some((before, after)) = rest.split_once('%') {
            decoded.push_str(before);
            decoded.push(char::from(u8::from_str_radix(&after[..2], 16).unwrap()));
            rest = &after[2..];
        }
        decoded + rest
    }

    #[test]
    fn an_empty_namespace_is_all_of_them() {
        let request = ApiRequest::list("", "pods");
        assert_eq!(request.uri(), "/api/v1/pods");
        assert_eq!(request.target.to_string(), "list pods");
    }

    #[test]
    fn other_groups_have_their_own_root() {
        let target = Target {
            verb: Verb::Get,
            group: "apps",
            version: "v1",
            resource: "daemonsets",
            subresource: None,
            namespace: None,
            name: Some("calico".into()),
        };
        assert_eq!(target.path(), "/apis/apps/v1/daemonsets/calico");
        assert_eq!(target.to_string(), r#"get daemonsets "calico""#);
    }

    #[test]
    fn debug_shows_no_body() {
        let request = ApiRequest::create("n", "pods", serde_json::json!({"env": "CANARY"}));
        assert!(!format!("{request:?}").contains("CANARY"));
    }
}
