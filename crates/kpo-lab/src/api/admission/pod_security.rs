//! Pod Security at level "restricted" (`k8s.io/pod-security-admission/policy`), for namespaces that enforce it by label.

use serde_json::Value;

use super::forbid;
use crate::error::ApiError;
use crate::resource::Resource;
use crate::store::Store;

/// Refuses a pod that its namespace's level forbids.
///
/// # Errors
/// 403 with every violation, worded as upstream.
pub(super) fn check(store: &Store, ns: &str, pod: &Value) -> Result<(), ApiError> {
    let namespace = store.get(Resource::Namespaces, "", ns);
    let labels = namespace.as_ref().map(|namespace| &namespace["metadata"]["labels"]);
    let level = labels.and_then(|labels| labels["pod-security.kubernetes.io/enforce"].as_str());
    if level != Some("restricted") {
        return Ok(());
    }
    let version = labels.and_then(|labels| labels["pod-security.kubernetes.io/enforce-version"].as_str());
    let violations = violations(&pod["spec"]);
    if violations.is_empty() {
        return Ok(());
    }
    let level = format!("restricted:{}", version.unwrap_or("latest"));
    Err(forbid(pod, &format!("violates PodSecurity {level:?}: {}", violations.join(", "))))
}

fn containers(spec: &Value) -> Vec<&Value> {
    let lists = ["initContainers", "containers", "ephemeralContainers"].into_iter();
    lists.flat_map(|list| spec[list].as_array().into_iter().flatten()).collect()
}

/// `container "a"`, or `containers "a", "b"`; None where there is none.
fn named<'a>(containers: impl Iterator<Item = &'a &'a Value>) -> Option<String> {
    let names: Vec<String> = containers.map(|c| format!("{:?}", c["name"].as_str().unwrap_or_default())).collect();
    match names.len() {
        0 => None,
        1 => Some(format!("container {}", names[0])),
        _ => Some(format!("containers {}", names.join(", "))),
    }
}

fn violations(spec: &Value) -> Vec<String> {
    let all = containers(spec);
    let mut found = Vec::new();
    host_namespaces(spec, &mut found);
    if let Some(who) = named(all.iter().filter(|c| c["securityContext"]["privileged"] == true)) {
        found.push(format!("privileged ({who} must not set securityContext.privileged=true)"));
    }
    if let Some(who) = named(all.iter().filter(|c| c["securityContext"]["allowPrivilegeEscalation"] != false)) {
        found.push(format!(
            "allowPrivilegeEscalation != false ({who} must set securityContext.allowPrivilegeEscalation=false)"
        ));
    }
    if let Some(who) = named(all.iter().filter(|c| !drops_all(c))) {
        found.push(format!("unrestricted capabilities ({who} must set securityContext.capabilities.drop=[\"ALL\"])"));
    }
    volumes(spec, &mut found);
    non_root(spec, &all, &mut found);
    if let Some(who) = named(all.iter().filter(|c| c["securityContext"]["runAsUser"] == 0)) {
        found.push(format!("runAsUser=0 ({who} must not set runAsUser=0)"));
    } else if spec["securityContext"]["runAsUser"] == 0 {
        found.push("runAsUser=0 (pod must not set runAsUser=0)".to_owned());
    }
    seccomp(spec, &all, &mut found);
    found
}

fn host_namespaces(spec: &Value, found: &mut Vec<String>) {
    let flags = ["hostNetwork", "hostPID", "hostIPC"].into_iter().filter(|flag| spec[*flag] == true);
    let flags: Vec<String> = flags.map(|flag| format!("{flag}=true")).collect();
    if !flags.is_empty() {
        found.push(format!("host namespaces ({})", flags.join(", ")));
    }
}

fn drops_all(container: &Value) -> bool {
    let dropped = container["securityContext"]["capabilities"]["drop"].as_array();
    dropped.is_some_and(|list| list.iter().any(|c| c == "ALL"))
}

const VOLUME_TYPES: [&str; 8] =
    ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"];

fn volumes(spec: &Value, found: &mut Vec<String>) {
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        let kinds = volume.as_object().into_iter().flatten().map(|(kind, _)| kind);
        for kind in kinds.filter(|kind| *kind != "name" && !VOLUME_TYPES.contains(&kind.as_str())) {
            let name = volume["name"].as_str().unwrap_or_default();
            found.push(format!("restricted volume types (volume {name:?} uses restricted volume type {kind:?})"));
        }
    }
}

fn non_root(spec: &Value, all: &[&Value], found: &mut Vec<String>) {
    let pod = &spec["securityContext"]["runAsNonRoot"];
    if let Some(who) = named(all.iter().filter(|c| c["securityContext"]["runAsNonRoot"] == false)) {
        found.push(format!("runAsNonRoot != true ({who} must not set securityContext.runAsNonRoot=false)"));
    } else if pod == false {
        found.push("runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)".to_owned());
    } else if pod != true
        && let Some(who) = named(all.iter().filter(|c| c["securityContext"]["runAsNonRoot"] != true))
    {
        found.push(format!("runAsNonRoot != true (pod or {who} must set securityContext.runAsNonRoot=true)"));
    }
}

fn seccomp(spec: &Value, all: &[&Value], found: &mut Vec<String>) {
    let kind = |context: &Value| context["seccompProfile"]["type"].as_str().unwrap_or_default().to_owned();
    let fine = |kind: &str| kind == "RuntimeDefault" || kind == "Localhost";
    if fine(&kind(&spec["securityContext"])) {
        return;
    }
    if let Some(who) = named(all.iter().filter(|c| !fine(&kind(&c["securityContext"])))) {
        found.push(format!(
            "seccompProfile (pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")"
        ));
    }
}
