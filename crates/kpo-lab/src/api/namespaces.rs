//! The life of a namespace: Terminating until its content is gone (`pkg/controller/namespace/deletion`).

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::resource::Resource;
use crate::store::{DeleteOptions, Deletion, Store, Writer};
use crate::time::Time;

/// Turns a namespace Terminating and deletes its content: pods with their own grace, the rest at once.
pub(super) fn terminate(
    now: Time,
    store: &mut Store,
    name: &str,
    options: &DeleteOptions,
) -> Result<Deletion, ApiError> {
    let namespaces = Resource::Namespaces;
    let found = store.get(namespaces, "", name).ok_or_else(|| ApiError::not_found(namespaces, name))?;
    if ["default", "kube-system", "kube-public"].contains(&name) {
        return Err(ApiError::forbidden(namespaces, name, "this namespace may not be deleted"));
    }
    crate::store::check_preconditions(namespaces, &found, options)?;
    let mark = |object: &mut Value| {
        object["metadata"]["deletionTimestamp"] = now.rfc3339().into();
        object["status"]["phase"] = "Terminating".into();
    };
    let marked = store.write_unowned(namespaces, &found, mark);
    sweep(now, store, name);
    Ok(store.get(namespaces, "", name).map_or(Deletion::Gone(marked), Deletion::Pending))
}

/// Deletes what is in a terminating namespace, and the namespace itself once nothing is.
fn sweep(now: Time, store: &mut Store, ns: &str) {
    let mut left = false;
    for resource in Resource::ALL.into_iter().filter(|resource| resource.namespaced()) {
        let names: Vec<String> = store
            .list(resource, Some(ns))
            .map(|o| o["metadata"]["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        for name in names {
            // Listed a moment ago from the same store: a 404 cannot be, and nothing else is asked for.
            let deletion = store.delete(now, resource, ns, &name, &DeleteOptions::default());
            left |= matches!(deletion, Ok(Deletion::Pending(_)));
        }
    }
    if !left {
        store.remove_now(Resource::Namespaces, "", ns);
    }
}

/// Goes on with every terminating namespace. To be called after changes; without one it costs a look at the namespaces.
pub fn advance(now: Time, store: &mut Store) {
    let terminating = |namespace: &&std::sync::Arc<Value>| namespace["status"]["phase"] == "Terminating";
    let found = store.list(Resource::Namespaces, None).filter(terminating);
    let names: Vec<String> = found.map(|n| n["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect();
    for name in names {
        sweep(now, store, &name);
    }
}

/// The namespaces that every cluster has.
pub fn bootstrap(now: Time, store: &mut Store) {
    for name in ["default", "kube-node-lease", "kube-public", "kube-system"] {
        let namespace = json!({ "metadata": { "name": name } });
        // Fails only where it is there already.
        let _ = super::create(now, store, Resource::Namespaces, namespace, &Writer::new("kube-apiserver"));
    }
    for (name, value) in [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)] {
        let class =
            json!({ "metadata": { "name": name }, "value": value, "description": "Used for system critical pods." });
        // As above.
        let _ = super::create(now, store, Resource::PriorityClasses, class, &Writer::new("kube-apiserver"));
    }
}
