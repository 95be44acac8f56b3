//! Statements about what a cluster has.

use std::time::Duration;

use serde_json::{Value, json};

use super::lex::{Line, Word};
use super::{ScriptError, Statement};
use crate::api::{Injection, Rule};
use crate::kubelet::{Pull, Timing};
use crate::nodes::NodeSpec;
use crate::provisioner::{ProvisionerKind, ProvisionerSpec};
use crate::quantity::Quantity;
use crate::resource::Resource;

/// The words with which such statements begin.
pub(super) const STARTS: [&str; 18] = [
    "timing",
    "distribution",
    "pod-gc",
    "node",
    "namespace",
    "priority-class",
    "quota",
    "daemonset",
    "pod",
    "config-map",
    "secret",
    "image",
    "network",
    "webhook",
    "permit",
    "token",
    "provisioner",
    "provides",
];

/// Reads one.
pub(super) fn statement(line: &mut Line) -> Result<Statement, ScriptError> {
    let word = line.next("a statement")?;
    match word.text.as_str() {
        "timing" => timing(line),
        "distribution" => Ok(Statement::Distribution(line.next("the binary's name, such as k3s")?.text)),
        "pod-gc" => {
            line.expect("keeps")?;
            Ok(Statement::PodGc(line.next("how many ended pods")?.number()?))
        }
        "node" => Ok(Statement::Node(node(line)?)),
        "namespace" => namespace(line),
        "priority-class" => priority_class(line),
        "quota" => quota(line),
        "daemonset" => daemonset(line),
        "pod" => Ok(Statement::Object(Resource::Pods, pod(line)?)),
        "config-map" => data(line, Resource::ConfigMaps, "data"),
        "secret" => data(line, Resource::Secrets, "stringData"),
        "image" => image(line),
        "network" => network(line),
        "webhook" => webhook(line),
        "permit" => {
            let pattern = line.next("the pods' name")?.text;
            line.expect("waits")?;
            Ok(Statement::Permit(pattern, line.next("how long")?.duration()?))
        }
        "token" => token(line),
        "provisioner" => provisioner(line),
        "provides" => Ok(Statement::Provides(node(line)?)),
        _ => {
            let mut known: Vec<&str> = STARTS.to_vec();
            known.push(super::behaviour::START);
            known.extend(super::happen::STARTS);
            Err(Line::unknown(&word, &known))
        }
    }
}

fn timing(line: &mut Line) -> Result<Statement, ScriptError> {
    let word = line.next("quick or upstream")?;
    match word.text.as_str() {
        "quick" => Ok(Statement::Timing(Timing::QUICK)),
        "upstream" => Ok(Statement::Timing(Timing::UPSTREAM)),
        _ => Err(Line::unknown(&word, &["quick", "upstream"])),
    }
}

/// What follows `node` or `provides`: name, amounts, labels, taints.
pub(super) fn node(line: &mut Line) -> Result<NodeSpec, ScriptError> {
    let mut node = NodeSpec::named(line.next("the node's name")?.text);
    while let Some(word) = line.peek().cloned() {
        if line.take("label") {
            let (key, value) = pair(&line.next("a label, as key=value")?)?;
            if line.take("later") {
                let after = line.next("how much later")?.duration()?;
                node.later_labels.push((key, value, after));
            } else {
                node.labels.insert(key, value);
            }
        } else if line.take("taint") {
            node.taints.push(read_taint(&line.next("a taint, as key=value:Effect")?)?);
        } else {
            line.next("an amount")?;
            let (resource, amount) = amount(&word)?;
            node.allocatable.insert(resource, amount);
        }
    }
    Ok(node)
}

/// `key=value:Effect` or `key:Effect`.
pub(super) fn read_taint(word: &Word) -> Result<(String, String, String), ScriptError> {
    let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
    let Some((front, effect)) = word.text.rsplit_once(':').filter(|(_, effect)| effects.contains(effect)) else {
        return Err(word.error(format!(
            "{:?} is no taint; write key=value:Effect, the effect one of {}",
            word.text,
            effects.join(", ")
        )));
    };
    let (key, value) = front.split_once('=').unwrap_or((front, ""));
    Ok((key.to_owned(), value.to_owned(), effect.to_owned()))
}

/// `key=value`.
pub(super) fn pair(word: &Word) -> Result<(String, String), ScriptError> {
    let found = word.pair().ok_or_else(|| word.error(format!("{:?} is no pair; write key=value", word.text)))?;
    Ok((found.0.to_owned(), found.1.to_owned()))
}

/// `cpu=500m`.
fn amount(word: &Word) -> Result<(String, String), ScriptError> {
    let (resource, amount) = pair(word)?;
    if Quantity::parse(&amount).is_none() {
        return Err(word.error(format!("{amount:?} is no quantity; write one as 500m, 2 or 4Gi")));
    }
    Ok((resource, amount))
}

/// `namespace/name`, or `name` in `default`.
fn place(word: &Word) -> (String, String) {
    let (ns, name) = word.text.split_once('/').unwrap_or(("default", &word.text));
    (ns.to_owned(), name.to_owned())
}

fn namespace(line: &mut Line) -> Result<Statement, ScriptError> {
    let name = line.next("the namespace's name")?.text;
    let mut object = json!({"metadata": {"name": name}});
    if line.take("restricted") {
        object["metadata"]["labels"] = json!({"pod-security.kubernetes.io/enforce": "restricted"});
    }
    Ok(Statement::Object(Resource::Namespaces, object))
}

fn priority_class(line: &mut Line) -> Result<Statement, ScriptError> {
    let name = line.next("the class's name")?.text;
    let value: i64 = line.next("its value")?.number()?;
    let mut object = json!({"metadata": {"name": name}, "value": value});
    while let Some(word) = line.peek().cloned() {
        line.next("a word")?;
        match word.text.as_str() {
            "default" => object["globalDefault"] = true.into(),
            "never-preempts" => object["preemptionPolicy"] = "Never".into(),
            _ => return Err(Line::unknown(&word, &["default", "never-preempts"])),
        }
    }
    Ok(Statement::Object(Resource::PriorityClasses, object))
}

fn quota(line: &mut Line) -> Result<Statement, ScriptError> {
    let ns = line.next("the namespace")?.text;
    let mut hard = json!({});
    while line.peek().is_some() {
        let (resource, amount) = amount(&line.next("an amount")?)?;
        hard[resource] = amount.into();
    }
    let object = json!({"metadata": {"name": ns, "namespace": ns}, "spec": {"hard": hard}});
    Ok(Statement::Object(Resource::ResourceQuotas, object))
}

/// What the lab itself brings along runs this: scripted ones for ever, local processes for eleven days.
fn filler(name: &str) -> Value {
    json!({"name": name, "image": format!("lab/{name}:1"), "imagePullPolicy": "IfNotPresent", "command": ["sleep", "1000000"]})
}

fn daemonset(line: &mut Line) -> Result<Statement, ScriptError> {
    let (ns, name) = place(&line.next("the DaemonSet's name")?);
    let mut container = filler(&name);
    let labels = json!({"app": name});
    let mut spec = json!({"terminationGracePeriodSeconds": 1});
    while let Some(word) = line.peek().cloned() {
        if line.take("selector") {
            let (key, value) = pair(&line.next("a node's label, as key=value")?)?;
            spec["nodeSelector"][key] = value.into();
        } else if line.take("tolerates-all") {
            spec["tolerations"] = json!([{"operator": "Exists"}]);
        } else {
            line.next("an option")?;
            pod_option(&word, &mut spec, &mut container)?;
        }
    }
    spec["containers"] = json!([container]);
    let template = json!({"metadata": {"labels": labels}, "spec": spec});
    let object = json!({
        "metadata": {"name": name, "namespace": ns},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    });
    Ok(Statement::Object(Resource::DaemonSets, object))
}

/// One `key=value` of a pod or a DaemonSet.
fn pod_option(word: &Word, spec: &mut Value, container: &mut Value) -> Result<(), ScriptError> {
    let (key, value) = pair(word)?;
    match key.as_str() {
        "cpu" | "memory" | "ephemeral-storage" => {
            amount(word)?;
            container["resources"]["requests"][key] = value.into();
        }
        "priority-class" => spec["priorityClassName"] = value.into(),
        "image" => container["image"] = value.into(),
        "command" => container["command"] = value.split_whitespace().collect::<Vec<_>>().into(),
        "container" => container["name"] = value.into(),
        "node" => spec["nodeName"] = value.into(),
        "scheduler" => spec["schedulerName"] = value.into(),
        "gate" => spec["schedulingGates"] = json!([{"name": value}]),
        "restart" => spec["restartPolicy"] = value.into(),
        "grace" | "deadline" => {
            let seconds: i64 = value.parse().map_err(|_| word.error(format!("{value:?} is no number of seconds")))?;
            let field = if key == "grace" { "terminationGracePeriodSeconds" } else { "activeDeadlineSeconds" };
            spec[field] = seconds.into();
        }
        _ => {
            let known = [
                "cpu",
                "memory",
                "ephemeral-storage",
                "priority-class",
                "image",
                "command",
                "container",
                "node",
                "scheduler",
                "gate",
                "restart",
                "grace",
                "deadline",
            ];
            return Err(word.error(format!("{key:?} is no option of a pod; those are: {}", known.join(", "))));
        }
    }
    Ok(())
}

/// What follows `pod`.
pub(super) fn pod(line: &mut Line) -> Result<Value, ScriptError> {
    let (ns, name) = place(&line.next("the pod's name")?);
    let mut container = filler("filler");
    let mut spec = json!({"restartPolicy": "Never"});
    let mut labels = json!({});
    while let Some(word) = line.peek().cloned() {
        if line.take("label") {
            let (key, value) = pair(&line.next("a label, as key=value")?)?;
            labels[key] = value.into();
        } else {
            line.next("an option")?;
            pod_option(&word, &mut spec, &mut container)?;
        }
    }
    spec["containers"] = json!([container]);
    Ok(json!({"metadata": {"name": name, "namespace": ns, "labels": labels}, "spec": spec}))
}

fn data(line: &mut Line, resource: Resource, field: &str) -> Result<Statement, ScriptError> {
    let (ns, name) = place(&line.next("the object's name")?);
    let mut object = json!({"metadata": {"name": name, "namespace": ns}});
    object[field] = json!({});
    while line.peek().is_some() {
        let (key, value) = pair(&line.next("an entry, as key=value")?)?;
        object[field][key] = value.into();
    }
    Ok(Statement::Object(resource, object))
}

fn image(line: &mut Line) -> Result<Statement, ScriptError> {
    let pattern = line.next("the image's name")?.text;
    let word = line.next("pulls or fails")?;
    let pull = match word.text.as_str() {
        "pulls" => {
            line.expect("in")?;
            Pull::Takes(line.next("how long it takes")?.duration()?)
        }
        "fails" => {
            let message = line.next("the runtime's error, in quotation marks")?.text;
            let after = if line.take("after") { line.next("after how long")?.duration()? } else { Duration::ZERO };
            Pull::Fails { after, message }
        }
        _ => return Err(Line::unknown(&word, &["pulls", "fails"])),
    };
    Ok(Statement::Image(pattern, on_node(line)?, pull))
}

fn network(line: &mut Line) -> Result<Statement, ScriptError> {
    line.expect("fails")?;
    line.expect("for")?;
    let time = line.next("how long")?.duration()?;
    Ok(Statement::Network(on_node(line)?, time))
}

fn on_node(line: &mut Line) -> Result<Option<String>, ScriptError> {
    if line.take("on") { Ok(Some(line.next("the node's name")?.text)) } else { Ok(None) }
}

fn webhook(line: &mut Line) -> Result<Statement, ScriptError> {
    let word = line.next("what the webhook does")?;
    let injection = match word.text.as_str() {
        "injects-mesh" => Injection::mesh(),
        "renames" => {
            let from = line.next("the container's name")?.text;
            line.expect("to")?;
            Injection { rename: Some((from, line.next("its new name")?.text)), ..Injection::default() }
        }
        "denies" => Injection { deny: Some(line.next("the reason, in quotation marks")?.text), ..Injection::default() },
        _ => return Err(Line::unknown(&word, &["injects-mesh", "renames", "denies"])),
    };
    Ok(Statement::Webhook(injection))
}

/// What a rule may allow; all of it: `*`.
const VERBS: [&str; 9] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "*"];

/// Each of a list that is written with commas has to be known by what `part` takes of it: a rule with another one would allow nothing by it.
fn each_is(list: &Word, known: &[&str], part: impl Fn(&str) -> &str) -> Result<(), ScriptError> {
    let Some(unknown) = list.text.split(',').find(|one| !known.contains(&part(one))) else { return Ok(()) };
    let mut word = list.clone();
    word.text = unknown.to_owned();
    Err(Line::unknown(&word, known))
}

/// `token runner may get,watch on pods,pods/log [in team-a]`.
fn token(line: &mut Line) -> Result<Statement, ScriptError> {
    let word = line.next("the user's name")?;
    let name = token_name(&word)?;
    line.expect("may")?;
    let verbs = line.next("the verbs, as get,watch")?;
    each_is(&verbs, &VERBS, |verb| verb)?;
    line.expect("on")?;
    let resources = line.next("the resources, as pods,pods/log")?;
    let served: Vec<&str> = Resource::ALL.iter().map(|resource| resource.plural()).chain(["*"]).collect();
    each_is(&resources, &served, |resource| resource.split('/').next().unwrap_or_default())?;
    let rule = Rule::new(&verbs.text, &resources.text);
    let rule = if line.take("in") { rule.within(&line.next("the namespace")?.text) } else { rule };
    Ok(Statement::Token(name, rule))
}

/// It becomes a context of the lab's kubeconfig, beside the administrator's own.
fn token_name(word: &Word) -> Result<String, ScriptError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if word.text.is_empty() || !word.text.chars().all(fits) {
        let why = format!("{:?} is no name for a token; write small letters, digits, \"-\" and \".\"", word.text);
        return Err(word.error(why));
    }
    if word.text == "lab" {
        return Err(word.error("\"lab\" is the administrator's own name; choose another"));
    }
    Ok(word.text.clone())
}

/// `karpenter` or `cluster-autoscaler`.
pub(super) fn provisioner_kind(line: &mut Line) -> Result<ProvisionerKind, ScriptError> {
    let word = line.next("karpenter or cluster-autoscaler")?;
    match word.text.as_str() {
        "karpenter" => Ok(ProvisionerKind::Karpenter),
        "cluster-autoscaler" => Ok(ProvisionerKind::ClusterAutoscaler),
        _ => Err(Line::unknown(&word, &["karpenter", "cluster-autoscaler"])),
    }
}

fn provisioner(line: &mut Line) -> Result<Statement, ScriptError> {
    let kind = provisioner_kind(line)?;
    let mut spec = ProvisionerSpec { kind, ..ProvisionerSpec::default() };
    while let Some(word) = line.peek().cloned() {
        line.next("an option")?;
        match word.text.as_str() {
            "after" => spec.delay = line.next("after how long")?.duration()?,
            "at-most" => spec.limit = Some(line.next("how many nodes")?.number()?),
            _ => return Err(Line::unknown(&word, &["after", "at-most"])),
        }
    }
    Ok(Statement::Provisioner(spec))
}
