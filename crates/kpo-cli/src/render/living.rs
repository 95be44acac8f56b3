//! What a pod is while it lives, and what there is to do about it.

use super::next;
use super::why::Case;
use super::words::{clause, program};
use kpo_core::pod::ContainerStatus;
use kpo_core::{Class, Situation, classify};

/// What it is now, as a clause about *it*.
pub(super) fn situation(case: &Case<'_>) -> String {
    match case.situation {
        Situation::Gated { others, .. } if others.is_empty() => "it waits before its attempt begins".to_owned(),
        Situation::Gated { others, .. } => format!("it is held by {}", others.join(", ")),
        Situation::Unscheduled { message, .. } => {
            let words = message.as_deref().map(|message| format!(": {}", clause(message))).unwrap_or_default();
            format!("it waits for a node{words}")
        }
        Situation::Starting { node, waiting, .. } => {
            let words = waiting.as_deref().map(|waiting| format!(": {waiting}")).unwrap_or_default();
            format!("it is starting on {node}{words}")
        }
        Situation::Running { node } => running(case, node),
        Situation::Terminating { node, .. } => {
            format!("it is being deleted{}", node.as_deref().map(|node| format!(" on {node}")).unwrap_or_default())
        }
        Situation::Doubtful => "whether it is gone is not certain".to_owned(),
        Situation::Ended => "it has ended".to_owned(),
    }
}

/// It has run; a container of it may be waiting to run again.
fn running(case: &Case<'_>, node: &str) -> String {
    match held_up(case) {
        Some(status) if status.name == case.own() => {
            format!("it does not run now, on {node}: {}", waits(status))
        }
        Some(status) => format!("it runs on {node}, but {}", waits(status)),
        None => format!("it runs on {node}"),
    }
}

/// A container that waits, or has ended and is started again: its own first.
fn held_up<'a>(case: &Case<'a>) -> Option<&'a ContainerStatus> {
    let pod = case.ledger.last.as_ref()?;
    let waits = |status: &&ContainerStatus| status.state.waiting.is_some();
    let stands = |status: &&ContainerStatus| waits(status) || status.state.terminated.is_some();
    pod.status_of(case.own()).filter(stands).or_else(|| pod.statuses().find(waits))
}

/// `base waits: CrashLoopBackOff: back-off 5m0s restarting failed container`.
fn waits(status: &ContainerStatus) -> String {
    if let Some(end) = &status.state.terminated {
        return format!("{} has ended with exit {}, and is to be started again", status.name, end.exit_code);
    }
    let waiting = status.state.waiting.clone().unwrap_or_default();
    let words = [waiting.reason, waiting.message].into_iter().flatten().map(|words| clause(&words));
    let words: Vec<String> = words.filter(|words| !words.is_empty()).collect();
    let words = if words.is_empty() { "no reason given".to_owned() } else { words.join(": ") };
    let last = status.last_state.terminated.as_ref().map(|end| format!("; it ended last with exit {}", end.exit_code));
    format!("{} waits: {words}{}", status.name, last.unwrap_or_default())
}

/// What there is to do about a pod that lives.
pub(super) fn next(case: &Case<'_>) -> Option<String> {
    let hindrance = held_up(case).and_then(classify::hindrance);
    let hindrance = hindrance.map(|reason| next::advice(reason, case.spec.is_some()));
    let ended = |status: &&ContainerStatus| status.last_state.terminated.is_some() || status.state.terminated.is_some();
    let crashed = held_up(case).filter(ended);
    match case.situation {
        Situation::Gated { others, .. } if others.is_empty() => {
            Some(format!("Its observer lifts the gate. If there is none any more: {}", attach(case, " --take-over")?))
        }
        Situation::Gated { .. } => Some("Ask whoever holds it: kubectl describe workload, for Kueue.".to_owned()),
        Situation::Unscheduled { message: Some(_), .. } => {
            Some("See the scheduler's sentence: fewer requests, other selectors or tolerations, more nodes.".to_owned())
        }
        Situation::Starting { .. } | Situation::Running { .. } if hindrance.is_some() => hindrance,
        Situation::Running { .. } if crashed.is_some() => {
            let previous =
                |status: &ContainerStatus| if status.state.terminated.is_some() { "" } else { " --previous" };
            let log = |status: &ContainerStatus| format!("Read its log: {}", log(case, &status.name, previous(status)));
            crashed.filter(|_| case.is_there).map(log)
        }
        Situation::Unscheduled { .. } | Situation::Starting { .. } | Situation::Running { .. } if case.is_there => {
            Some(format!("Follow it: {}", attach(case, "").unwrap_or_else(|| log(case, case.own(), " -f"))))
        }
        Situation::Terminating { unreachable_since: Some(_), .. } => {
            Some("Its node does not answer: bring it back, or remove it once it is known to be off.".to_owned())
        }
        _ => None,
    }
}

/// What follows a disruption of a task's newest pod, as long as that is there. `None`: there is nothing to be said.
pub(super) fn after_disruption(case: &Case<'_>) -> Option<String> {
    let class = &case.verdict.filter(|_| case.is_there)?.class;
    let take_over = attach(case, " --take-over").filter(|_| matches!(class, Class::Disrupted { .. }))?;
    Some(format!("what follows is its observer's to decide; if nobody watches over it any more: {take_over}"))
}

fn attach(case: &Case<'_>, flags: &str) -> Option<String> {
    let (task, _) = case.attempt?;
    Some(format!("{} attach {task}{flags}{}", program(), case.again))
}

/// How a foreign pod's log is read.
fn log(case: &Case<'_>, container: &str, flags: &str) -> String {
    let pod = &case.record.pod;
    format!("kubectl logs {} -c {container}{flags} -n {}", pod.name, pod.namespace)
}
