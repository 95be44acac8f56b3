//! `ResourceQuota`: pods and their compute resources (`plugin/resourcequota`, `pkg/quota/v1/evaluator/core/pods.go`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::forbid;
use crate::error::ApiError;
use crate::quantity::Quantity;
use crate::resource::Resource;
use crate::store::{Store, Writer};
use crate::time::Time;

type Amounts = BTreeMap<String, Quantity>;

/// What a quota can demand of every container (`podComputeQuotaResources`).
const COMPUTE: [&str; 6] = ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"];

/// Refuses a pod that some quota of the namespace has no room for.
///
/// # Errors
/// 403 `exceeded quota: …`, or `failed quota: …: must specify …`.
pub(super) fn check(store: &Store, ns: &str, pod: &Value) -> Result<(), ApiError> {
    for quota in quotas(store, ns) {
        let name = quota["metadata"]["name"].as_str().unwrap_or_default();
        let hard = amounts(&quota["spec"]["hard"]);
        if let Some(missing) = unspecified(&pod["spec"], &hard) {
            return Err(forbid(pod, &format!("failed quota: {name}: must specify {missing}")));
        }
        let used = usage(store, ns, &hard);
        let asked = restrict(charge(&pod["spec"]), &hard);
        let over: Vec<&String> = asked.iter().filter(|(k, v)| used[*k] + **v > hard[*k]).map(|(k, _)| k).collect();
        if !over.is_empty() {
            let show = |amounts: &Amounts| {
                let parts: Vec<String> = over.iter().map(|k| format!("{k}={}", amounts[*k])).collect();
                parts.join(",")
            };
            let why = format!(
                "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
                show(&asked),
                show(&used),
                show(&hard)
            );
            return Err(forbid(pod, &why));
        }
    }
    Ok(())
}

/// Writes `status.hard` and `status.used` of every quota of a namespace, where they differ.
pub fn refresh(now: Time, store: &mut Store, ns: &str) {
    for quota in quotas(store, ns) {
        let hard = amounts(&quota["spec"]["hard"]);
        let used = print(&usage(store, ns, &hard));
        let name = quota["metadata"]["name"].as_str().unwrap_or_default();
        let writer = Writer::status("kube-controller-manager");
        let change = |object: &mut Value| {
            object["status"]["hard"] = print(&hard);
            object["status"]["used"] = used;
        };
        // The quota was read from this very store: it is there.
        let _ = store.update_status(now, Resource::ResourceQuotas, ns, name, change, &writer);
    }
}

/// The same for every namespace that has a quota.
pub(crate) fn refresh_all(now: Time, store: &mut Store) {
    let quotas = store.list(Resource::ResourceQuotas, None);
    let named = quotas.filter_map(|quota| quota["metadata"]["namespace"].as_str().map(str::to_owned));
    for ns in named.collect::<BTreeSet<String>>() {
        refresh(now, store, &ns);
    }
}

fn quotas(store: &Store, ns: &str) -> Vec<Arc<Value>> {
    store.list(Resource::ResourceQuotas, Some(ns)).cloned().collect()
}

fn amounts(map: &Value) -> Amounts {
    let entries = map.as_object().into_iter().flatten();
    entries.filter_map(|(name, amount)| Some((name.clone(), Quantity::of(amount)?))).collect()
}

fn print(amounts: &Amounts) -> Value {
    let map: Map<String, Value> = amounts.iter().map(|(k, v)| (k.clone(), v.to_string().into())).collect();
    Value::Object(map)
}

fn restrict(amounts: Amounts, to: &Amounts) -> Amounts {
    amounts.into_iter().filter(|(name, _)| to.contains_key(name)).collect()
}

/// Every hard-limited amount as the namespace's pods use it; ended pods use nothing.
fn usage(store: &Store, ns: &str, hard: &Amounts) -> Amounts {
    let mut used: Amounts = hard.keys().map(|name| (name.clone(), Quantity::default())).collect();
    let live = |pod: &&Arc<Value>| !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    for pod in store.list(Resource::Pods, Some(ns)).filter(live) {
        for (name, amount) in restrict(charge(&pod["spec"]), hard) {
            let sum = used.entry(name).or_default();
            *sum = *sum + amount;
        }
    }
    used
}

/// What one pod is charged.
fn charge(spec: &Value) -> Amounts {
    let mut charged = Amounts::new();
    for name in ["pods", "count/pods"] {
        charged.insert(name.to_owned(), Quantity::whole(1));
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        let (requests, limits) = (pod_amount(spec, "requests", name), pod_amount(spec, "limits", name));
        charged.insert(name.to_owned(), requests);
        charged.insert(format!("requests.{name}"), requests);
        charged.insert(format!("limits.{name}"), limits);
    }
    charged
}

/// A pod's effective request or limit of a resource (`k8s.io/component-helpers/resource/helpers.go`, `PodRequests`): the containers with
/// the native sidecars, or what the neediest init container needs beside the sidecars before it. Overhead is added.
pub fn pod_amount(spec: &Value, part: &str, name: &str) -> Quantity {
    let own = |container: &Value| Quantity::of(&container["resources"][part][name]).unwrap_or_default();
    let list = |list: &str| spec[list].as_array().cloned().unwrap_or_default();
    let (mut sidecars, mut starting) = (Quantity::default(), Quantity::default());
    for container in list("initContainers") {
        let sum = sidecars + own(&container);
        if container["restartPolicy"] == "Always" {
            sidecars = sum;
        }
        starting = starting.max(sum);
    }
    let running = list("containers").iter().map(own).sum::<Quantity>() + sidecars;
    running.max(starting) + Quantity::of(&spec["overhead"][name]).unwrap_or_default()
}

/// `limits.cpu for: a,b; requests.memory for: a`; None where every container says all that the quota limits.
fn unspecified(spec: &Value, hard: &Amounts) -> Option<String> {
    let mut missing: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let demanded = COMPUTE.into_iter().filter(|name| hard.contains_key(*name));
    for name in demanded {
        let (part, resource) = name.split_once('.').unwrap_or(("requests", name));
        for list in ["containers", "initContainers"] {
            let containers = spec[list].as_array().into_iter().flatten();
            for container in containers.filter(|c| c["resources"][part][resource].is_null()) {
                let who = container["name"].as_str().unwrap_or_default().to_owned();
                missing.entry(name).or_default().insert(who);
            }
        }
    }
    let texts: Vec<String> = missing
        .into_iter()
        .map(|(name, who)| format!("{name} for: {}", who.into_iter().collect::<Vec<_>>().join(",")))
        .collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}
