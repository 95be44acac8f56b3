//! Statements about what happens.

use std::time::Duration;

use super::cluster::{self, pair, read_taint};
use super::lex::{Line, Word};
use super::{
    Action, ApiTrouble, ApiTroubleKind, Happening, NodeAction, PodAction, PodPattern, PodState, ScriptError, Statement,
    Target, When,
};
use crate::kubelet::Records;
use crate::resource::Resource;

/// The words with which such statements begin.
pub(super) const STARTS: [&str; 4] = ["at", "when", "whenever", "then"];

pub(super) const STATES: [(&str, PodState); 13] = [
    ("created", PodState::Created),
    ("gated", PodState::Gated),
    ("unschedulable", PodState::Unschedulable),
    ("scheduled", PodState::Scheduled),
    ("starting", PodState::Starting),
    ("waiting", PodState::Waiting),
    ("running", PodState::Running),
    ("ended", PodState::Ended),
    ("succeeded", PodState::Succeeded),
    ("failed", PodState::Failed),
    ("disrupted", PodState::Disrupted),
    ("terminating", PodState::Terminating),
    ("gone", PodState::Gone),
];

pub(super) const ACTIONS: [&str; 24] = [
    "delete",
    "evict",
    "preempt",
    "mark",
    "unmark",
    "fail",
    "kueue-evict",
    "lose",
    "forget",
    "lose-sight-of",
    "label",
    "unlabel",
    "lift-gate",
    "annotate",
    "set-finalizer",
    "drop-finalizer",
    "node",
    "kubelet",
    "compact",
    "api",
    "tokens",
    "pod",
    "config-map",
    "image",
];

pub(super) const NODE_ACTIONS: [&str; 15] = [
    "silent",
    "answers",
    "off",
    "deleted",
    "rebooted",
    "shuts",
    "cordoned",
    "uncordoned",
    "rejects",
    "accepts",
    "low-on",
    "recovered",
    "labelled",
    "tainted",
    "untainted",
];

/// Reads one. `first`: there is none before it.
pub(super) fn happening(line: &mut Line, first: bool) -> Result<Happening, ScriptError> {
    let number = line.number;
    let start = line.next("when")?;
    let (when, it) = match start.text.as_str() {
        "at" => (When::At(ends_colon(line, "the time")?.duration()?), false),
        "then" => {
            if first {
                return Err(start.error("there is no happening before this one; begin with at or when"));
            }
            line.expect("after")?;
            (When::Then(ends_colon(line, "the time")?.duration()?), true)
        }
        each => (pod_condition(line, each == "whenever")?, true),
    };
    Ok(Happening { line: number, when, action: action(line, it)? })
}

/// The next word, without the colon that may end it or follow it.
fn ends_colon(line: &mut Line, what: &str) -> Result<Word, ScriptError> {
    let mut word = line.next(what)?;
    if let Some(text) = word.text.strip_suffix(':') {
        word.text = text.to_owned();
    } else {
        line.take(":");
    }
    Ok(word)
}

fn pod_condition(line: &mut Line, each: bool) -> Result<When, ScriptError> {
    line.expect("pod")?;
    let pod = pattern(&line.next("the pod's name")?.text);
    let word = line.next("the pod's state")?;
    let text = word.text.trim_end_matches(':');
    let known: Vec<&str> = STATES.iter().map(|(name, _)| *name).collect();
    let state = STATES.iter().find(|(name, _)| *name == text).map(|(_, state)| *state);
    let state = state.ok_or_else(|| Line::unknown(&word, &known))?;
    let mut lasting = Duration::ZERO;
    if !word.text.ends_with(':') && !line.take(":") && line.take("for") {
        lasting = ends_colon(line, "how long")?.duration()?;
    }
    Ok(When::Pod { pod, state, lasting, each })
}

fn pattern(text: &str) -> PodPattern {
    match text.split_once('/') {
        Some((ns, name)) => PodPattern { namespace: Some(ns.to_owned()), name: name.to_owned() },
        None => PodPattern { namespace: None, name: text.to_owned() },
    }
}

/// `it`, or `pod NAME`.
fn target(line: &mut Line, it: bool) -> Result<Target, ScriptError> {
    let word = line.next("\"it\" or \"pod NAME\"")?;
    match word.text.as_str() {
        "it" if it => Ok(Target::It),
        "it" => Err(word.error("\"it\" is the pod of a condition, and there is none; write pod NAME")),
        "pod" => Ok(Target::Pod(pattern(&line.next("the pod's name")?.text))),
        _ => Err(Line::unknown(&word, &["it", "pod"])),
    }
}

fn action(line: &mut Line, it: bool) -> Result<Action, ScriptError> {
    let word = line.peek().cloned();
    let word = match word {
        Some(word) => word,
        None => line.next("what happens")?,
    };
    let text = word.text.as_str();
    if text == "node" || text == "kubelet" {
        return node_or_kubelet(line);
    }
    if text == "token" {
        return Err(word.error("a token is there from the beginning; write it as a line of its own, without a time"));
    }
    if cluster::STARTS.contains(&text) {
        return Ok(Action::Add(Box::new(cluster::statement(line)?)));
    }
    line.next("what happens")?;
    match text {
        "delete" => delete(line, it),
        "evict" => evict(line, it),
        "preempt" => Ok(Action::Pod(target(line, it)?, PodAction::Preempt)),
        "mark" => {
            let target = target(line, it)?;
            let reason = line.next("the reason, such as DeletionByGCPControllerManager")?.text;
            Ok(Action::Pod(target, PodAction::Mark(reason, line.next("the message, in quotation marks")?.text)))
        }
        "unmark" => Ok(Action::Pod(target(line, it)?, PodAction::Unmark)),
        "fail" => fail(line, it),
        "kueue-evict" => Ok(Action::Pod(target(line, it)?, PodAction::KueueEvict)),
        "lose-sight-of" => lose_sight(line, it),
        "lose" => {
            line.expect("records")?;
            line.expect("of")?;
            Ok(Action::Pod(target(line, it)?, PodAction::BreakRuntime(Records::Lost)))
        }
        "forget" => {
            line.expect("start")?;
            line.expect("of")?;
            Ok(Action::Pod(target(line, it)?, PodAction::BreakRuntime(Records::Created)))
        }
        "label" | "unlabel" | "annotate" | "set-finalizer" | "drop-finalizer" | "lift-gate" => change(line, it, text),
        "compact" => Ok(Action::Compact),
        "api" => Ok(Action::Api(api(line)?)),
        "tokens" => {
            line.expect("expire")?;
            let mut trouble = ApiTrouble { kind: ApiTroubleKind::TokensExpire, ..ApiTrouble::default() };
            api_options(line, &mut trouble)?;
            Ok(Action::Api(trouble))
        }
        _ => Err(Line::unknown(&word, &ACTIONS)),
    }
}

fn delete(line: &mut Line, it: bool) -> Result<Action, ScriptError> {
    for (word, resource) in
        [("config-map", Resource::ConfigMaps), ("secret", Resource::Secrets), ("quota", Resource::ResourceQuotas)]
    {
        if line.take(word) {
            let name = line.next("the object's name")?.text;
            let (ns, name) = name.split_once('/').unwrap_or(("default", &name));
            return Ok(Action::DeleteObject(resource, ns.to_owned(), name.to_owned()));
        }
    }
    let target = target(line, it)?;
    let Some(word) = line.peek().filter(|word| word.text.starts_with("grace=")).cloned() else {
        return Ok(Action::Pod(target, PodAction::Delete(None)));
    };
    line.next("the grace")?;
    let seconds = pair(&word)?.1.parse().map_err(|_| word.error("write grace=0, grace=30, …"))?;
    Ok(Action::Pod(target, PodAction::Delete(Some(seconds))))
}

fn evict(line: &mut Line, it: bool) -> Result<Action, ScriptError> {
    let target = target(line, it)?;
    if line.take("for") {
        let what = line.next("what the node is low on, such as memory")?.text;
        return Ok(Action::Pod(target, PodAction::EvictForPressure(what)));
    }
    if line.take("over") {
        line.expect("volume")?;
        return Ok(Action::Pod(target, PodAction::EvictForVolume(line.next("the volume's name")?.text)));
    }
    let by = if line.take("by") { Some(cluster::provisioner_kind(line)?) } else { None };
    Ok(Action::Pod(target, PodAction::Evict(by)))
}

fn fail(line: &mut Line, it: bool) -> Result<Action, ScriptError> {
    let target = target(line, it)?;
    let (reason, message, writer) = words(line, "ProviderFailed", "virtual-kubelet")?;
    Ok(Action::Pod(target, PodAction::Fail(reason, message, writer)))
}

fn lose_sight(line: &mut Line, it: bool) -> Result<Action, ScriptError> {
    let target = target(line, it)?;
    let (reason, message, writer) = words(line, "NodeLost", "kube-controller-manager")?;
    Ok(Action::Pod(target, PodAction::LoseSight(reason, message, writer)))
}

/// Reason, message and writer of a phase.
fn words(line: &mut Line, reason: &str, writer: &str) -> Result<(String, String, String), ScriptError> {
    let reason = line.next(&format!("the reason, such as {reason}"))?.text;
    let message = line.next("the message, in quotation marks")?.text;
    line.expect("by")?;
    Ok((reason, message, line.next(&format!("the writer, such as {writer}"))?.text))
}

fn change(line: &mut Line, it: bool, what: &str) -> Result<Action, ScriptError> {
    let target = target(line, it)?;
    let word = line.next("what to set")?;
    let action = match what {
        "label" => {
            let (key, value) = pair(&word)?;
            PodAction::Label(key, Some(value))
        }
        "unlabel" => PodAction::Label(word.text, None),
        "annotate" => {
            let (key, value) = pair(&word)?;
            PodAction::Annotate(key, value)
        }
        "lift-gate" => PodAction::LiftGate(word.text),
        other => PodAction::Finalizer(word.text, other == "set-finalizer"),
    };
    Ok(Action::Pod(target, action))
}

/// What happens to a node or its kubelet; or, as in the cluster's part, a node that is added.
fn node_or_kubelet(line: &mut Line) -> Result<Action, ScriptError> {
    if line.take("kubelet") {
        let name = line.next("the node's name")?.text;
        let word = line.next("what happens to it")?;
        let action = match word.text.as_str() {
            "stopped" => NodeAction::KubeletStopped,
            "started" => NodeAction::KubeletStarted,
            "restarted" => NodeAction::KubeletRestarted,
            _ => return Err(Line::unknown(&word, &["stopped", "started", "restarted"])),
        };
        return Ok(Action::Node(name, action));
    }
    let mut ahead = line.clone();
    ahead.next("node")?;
    let name = ahead.next("the node's name")?.text;
    let word = ahead.peek().cloned();
    let adds = word.as_ref().is_none_or(|word| word.pair().is_some() || word.text == "label" || word.text == "taint");
    if adds {
        return Ok(Action::Add(Box::new(cluster::statement(line)?)));
    }
    *line = ahead;
    Ok(Action::Node(name, node_action(line)?))
}

fn node_action(line: &mut Line) -> Result<NodeAction, ScriptError> {
    let word = line.next("what happens to it")?;
    Ok(match word.text.as_str() {
        "silent" => NodeAction::Silent,
        "answers" => NodeAction::Answers,
        "off" => NodeAction::Off,
        "deleted" => {
            let by_cloud = line.take("by");
            if by_cloud {
                line.expect("cloud")?;
            }
            NodeAction::Deleted(by_cloud)
        }
        "rebooted" => NodeAction::Rebooted(records(line)?),
        "shuts" => {
            line.expect("down")?;
            let grace =
                if line.take("in") { line.next("how long it takes")?.duration()? } else { Duration::from_secs(30) };
            NodeAction::ShutDown(grace)
        }
        "cordoned" => NodeAction::Cordoned(true),
        "uncordoned" => NodeAction::Cordoned(false),
        "rejects" => {
            let reason = line.next("the reason, such as UnexpectedAdmissionError")?.text;
            NodeAction::Rejects(Some((reason, line.next("the message, in quotation marks")?.text)))
        }
        "accepts" => NodeAction::Rejects(None),
        "low-on" => {
            let word = line.next("memory, disk or pids")?;
            let known = ["memory", "disk", "pids"];
            if !known.contains(&word.text.as_str()) {
                return Err(Line::unknown(&word, &known));
            }
            NodeAction::LowOn(Some(word.text))
        }
        "recovered" => NodeAction::LowOn(None),
        "labelled" => {
            let (key, value) = pair(&line.next("a label, as key=value")?)?;
            NodeAction::Labelled(key, value)
        }
        "tainted" => {
            let (key, value, effect) = read_taint(&line.next("a taint, as key=value:Effect")?)?;
            NodeAction::Tainted(key, value, effect)
        }
        "untainted" => NodeAction::Untainted(line.next("the taint's key")?.text),
        _ => return Err(Line::unknown(&word, &NODE_ACTIONS)),
    })
}

/// `records lost`, `containers created`.
fn records(line: &mut Line) -> Result<Records, ScriptError> {
    if line.take("records") {
        line.expect("lost")?;
        return Ok(Records::Lost);
    }
    if line.take("containers") {
        line.expect("created")?;
        return Ok(Records::Created);
    }
    Ok(Records::Kept)
}

fn api(line: &mut Line) -> Result<ApiTrouble, ScriptError> {
    let word = line.next("what the API server does")?;
    let mut trouble = ApiTrouble::default();
    match word.text.as_str() {
        "down" => trouble.lasting = Some(line.next("how long")?.duration()?),
        "answers" => {
            let code = line.next("the status code")?.number()?;
            line.expect("to")?;
            trouble.kind = ApiTroubleKind::Answers { code, retry_after: None, done: false };
            requests(line, &mut trouble)?;
        }
        "loses" => {
            line.expect("reply")?;
            line.expect("to")?;
            trouble.kind = ApiTroubleKind::LosesReply;
            requests(line, &mut trouble)?;
        }
        "drops" => requests(line, &mut trouble)?,
        "hangs" => {
            trouble.kind = ApiTroubleKind::Hangs;
            requests(line, &mut trouble)?;
        }
        "closes" => {
            requests(line, &mut trouble)?;
            trouble.kind = ApiTroubleKind::Closes;
        }
        "cuts" => {
            requests(line, &mut trouble)?;
            line.expect("after")?;
            trouble.kind = ApiTroubleKind::Cuts(line.next("how many bytes")?.number()?);
            line.expect("bytes")?;
        }
        "delays" => {
            requests(line, &mut trouble)?;
            line.expect("by")?;
            trouble.kind = ApiTroubleKind::Delays(line.next("how much")?.duration()?);
        }
        _ => {
            return Err(Line::unknown(
                &word,
                &["down", "answers", "loses", "drops", "hangs", "delays", "cuts", "closes"],
            ));
        }
    }
    api_options(line, &mut trouble)?;
    Ok(trouble)
}

/// `create pods`, `get any`, `any`.
fn requests(line: &mut Line, trouble: &mut ApiTrouble) -> Result<(), ScriptError> {
    let verbs = ["any", "get", "list", "watch", "create", "update", "patch", "delete"];
    let verb = line.next("the verb, or any")?;
    if !verbs.contains(&verb.text.as_str()) {
        return Err(Line::unknown(&verb, &verbs));
    }
    trouble.verb = (verb.text != "any").then_some(verb.text);
    let resource = line.peek().filter(|word| word.text.chars().all(|c| c.is_ascii_lowercase() || c == '/')).cloned();
    let ends = |text: &str| ["after", "for", "by", "retry-after"].contains(&text);
    if let Some(resource) = resource.filter(|word| !ends(&word.text)) {
        line.next("the resource")?;
        trouble.resource = (resource.text != "any").then_some(resource.text);
    }
    Ok(())
}

fn api_options(line: &mut Line, trouble: &mut ApiTrouble) -> Result<(), ScriptError> {
    while let Some(word) = line.peek().cloned() {
        line.next("an option")?;
        match word.text.as_str() {
            "for" => trouble.lasting = Some(line.next("how long")?.duration()?),
            "after" => {
                line.expect("all")?;
                let ApiTroubleKind::Answers { done, .. } = &mut trouble.kind else {
                    return Err(word.error("\"after all\" goes with answers only; leave it out"));
                };
                *done = true;
            }
            "retry-after" => {
                let seconds = line.next("how many seconds")?.number()?;
                let ApiTroubleKind::Answers { retry_after, .. } = &mut trouble.kind else {
                    return Err(word.error("\"retry-after\" goes with answers only; leave it out"));
                };
                *retry_after = Some(seconds);
            }
            text if text.chars().all(|c| c.is_ascii_digit()) => {
                trouble.times = Some(word.number()?);
                if !line.take("times") {
                    line.expect("time")?;
                }
            }
            _ => return Err(Line::unknown(&word, &["for", "after", "retry-after"])),
        }
    }
    Ok(())
}

impl From<Statement> for Action {
    fn from(statement: Statement) -> Action {
        Action::Add(Box::new(statement))
    }
}
