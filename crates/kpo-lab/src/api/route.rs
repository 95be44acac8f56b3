//! From a path to what it names.

use super::auth::Attributes;
use super::request::Request;
use crate::resource::Resource;

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// A resource's collection or object.
    Resource(Target),
    /// A resource that is not served.
    Unknown,
    /// A path that is no resource: discovery, health, version.
    Path,
}

/// A resource's collection (empty `name`) or object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) resource: Resource,
    /// Empty: all namespaces, or a cluster-scoped resource.
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
    /// The group as the path has it: `events.k8s.io` is another form of the same events.
    pub(crate) group: String,
    /// `/api/v1/watch/…`, the old form of `?watch=1`.
    pub(crate) watch: bool,
}

/// Reads a request's path and verb.
pub(crate) fn route(request: &Request) -> (Route, Attributes) {
    let parts: Vec<&str> = request.path.split('/').filter(|part| !part.is_empty()).collect();
    let (group, rest) = match parts.as_slice() {
        ["api", "v1", rest @ ..] if !rest.is_empty() => ("", rest),
        ["apis", group, "v1", rest @ ..] if !rest.is_empty() => (*group, rest),
        _ => return (Route::Path, path_attributes(request)),
    };
    let (watch, rest) = match rest {
        ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
        rest => (false, rest),
    };
    let (namespace, rest) = split_namespace(rest);
    let (plural, rest) = rest.split_first().map_or(("", rest), |(plural, rest)| (*plural, rest));
    let name = rest.first().copied().unwrap_or_default().to_owned();
    let subresource = rest.get(1).copied().unwrap_or_default().to_owned();
    let resource = Resource::find(group, plural);
    let watch = watch || (request.method == "GET" && request.query.flag("watch"));
    let attributes = Attributes {
        verb: verb(request, &name, watch, &subresource).to_owned(),
        group: group.to_owned(),
        resource: plural.to_owned(),
        subresource: subresource.clone(),
        namespace: if resource == Some(Resource::Namespaces) { name.clone() } else { namespace.to_owned() },
        name: name.clone(),
        path: request.path.clone(),
    };
    let Some(resource) = resource else { return (Route::Unknown, attributes) };
    let (namespace, group) = (namespace.to_owned(), group.to_owned());
    (Route::Resource(Target { resource, namespace, name, subresource, group, watch }), attributes)
}

/// `namespaces/x/pods` is in a namespace; `namespaces/x` and its own subresources are not.
fn split_namespace<'a, 'b>(rest: &'a [&'b str]) -> (&'b str, &'a [&'b str]) {
    match rest {
        ["namespaces", name, next, ..] if !["status", "finalize"].contains(next) => (name, &rest[2..]),
        _ => ("", rest),
    }
}

fn path_attributes(request: &Request) -> Attributes {
    Attributes { verb: request.method.to_lowercase(), path: request.path.clone(), ..Attributes::default() }
}

fn verb(request: &Request, name: &str, watch: bool, subresource: &str) -> &'static str {
    match (request.method.as_str(), name.is_empty()) {
        ("GET" | "HEAD", _) if watch && subresource.is_empty() => "watch",
        ("GET" | "HEAD", true) => "list",
        ("GET" | "HEAD", false) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        ("DELETE", true) => "deletecollection",
        ("DELETE", false) => "delete",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::super::auth::User;
    use super::*;

    #[test]
    fn paths_and_verbs() {
        let table = [
            ("GET /api/v1/pods", "list pods  "),
            ("GET /api/v1/namespaces/n/pods?watch=true", "watch pods n "),
            ("GET /api/v1/namespaces/n/pods/a", "get pods n a"),
            ("GET /api/v1/namespaces/n/pods/a/log?follow=1", "get pods/log n a"),
            ("POST /api/v1/namespaces/n/pods/a/eviction", "create pods/eviction n a"),
            ("PATCH /api/v1/namespaces/n/pods/a/status", "patch pods/status n a"),
            ("DELETE /api/v1/namespaces/n/pods", "deletecollection pods n "),
            ("GET /api/v1/namespaces/n", "get namespaces n n"),
            ("PUT /api/v1/nodes/x/status", "update nodes/status  x"),
            ("GET /apis/apps/v1/namespaces/n/deployments", "list deployments n "),
            ("GET /apis/apps/v1", "get   "),
        ];
        for (request, expected) in table {
            let (method, target) = request.split_once(' ').expect("two words");
            let (_, found) = route(&Request::new(method, target, User::admin()));
            let text = format!("{} {} {} {}", found.verb, found.full_resource(), found.namespace, found.name);
            assert_eq!(text, expected, "{request}");
        }
    }
}
