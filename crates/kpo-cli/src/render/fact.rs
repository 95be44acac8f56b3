//! One entry of the ledger, as a line.

use super::words::{clause, clock};
use kpo_core::{Absence, Entry, Fact, Outcome, Sign};

/// What the verdicts of a task rest on: the attempt, when, and what was seen.
pub(crate) fn evidence(outcome: &Outcome) -> Vec<String> {
    let judged = outcome.attempts.iter().filter_map(|attempt| Some((attempt.number, attempt.verdict.as_ref()?)));
    let line = |number: u32, entry: &Entry| {
        format!("  evidence, attempt {number}: {}  {}", clock(entry.at), fact(&entry.fact))
    };
    judged.flat_map(|(number, judged)| judged.entries.iter().map(move |entry| line(number, entry))).collect()
}

/// The entry in words.
pub(super) fn fact(fact: &Fact) -> String {
    match fact {
        Fact::FirstSeen { from_creation: true } => "created".to_owned(),
        Fact::FirstSeen { from_creation: false } => "first seen; what was before is not known".to_owned(),
        Fact::GapOpened => "sight lost".to_owned(),
        Fact::GapClosed { missed: true } => "in sight again; something may have been missed".to_owned(),
        Fact::GapClosed { missed: false } => "in sight again; nothing was missed".to_owned(),
        Fact::Gated { gates } if gates.is_empty() => "released by its gates".to_owned(),
        Fact::Gated { gates } => format!("held by {}", gates.join(", ")),
        Fact::Unschedulable { message } => format!("no node: {}", clause(message)),
        Fact::Nominated { node } => format!("room is made for it on {node}"),
        Fact::Assigned { node } => format!("assigned to {node}"),
        Fact::Condition { kind, status, reason, message } => {
            condition(kind, status, reason.as_deref(), message.as_deref())
        }
        Fact::DeletionRequested { grace_seconds, ours } => {
            let by = if *ours { " by kpo" } else { "" };
            format!("deletion requested{by}, grace {grace_seconds} s")
        }
        Fact::ContainerWaiting { container, reason, message } => {
            let words = message.as_deref().map(|message| format!(": {}", clause(message))).unwrap_or_default();
            format!("{container}: waiting, {}{words}", reason.as_deref().unwrap_or("no reason given"))
        }
        Fact::ContainerRan { container, sign } => format!("{}{}", named(container), shown(*sign)),
        Fact::ContainerEnded { container, exit_code, reason } => {
            let reason = reason.as_deref().map(|reason| format!(" {reason}")).unwrap_or_default();
            format!("{container}: ended{reason} ({exit_code})")
        }
        Fact::Phase { phase, reason, message, writer, .. } => {
            let words = [reason, message].into_iter().flatten().map(|words| clause(words)).collect::<Vec<_>>();
            let words = if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) };
            let by = writer.as_deref().map(|writer| format!(" (written by {writer})")).unwrap_or_default();
            format!("{phase:?}{words}{by}")
        }
        Fact::Told { reason, message, reporter, .. } => format!("{reason}: {} ({reporter})", clause(message)),
        Fact::Gone { how: Absence::Observed } => "gone".to_owned(),
        Fact::Gone { how: Absence::Unobserved } => "gone; its end was not seen".to_owned(),
    }
}

fn condition(kind: &str, status: &str, reason: Option<&str>, message: Option<&str>) -> String {
    let words: Vec<String> =
        [reason, message].into_iter().flatten().map(clause).filter(|words| !words.is_empty()).collect();
    let value = if status == "True" { String::new() } else { format!(" is {status}") };
    if words.is_empty() { format!("{kind}{value}") } else { format!("{kind}{value}: {}", words.join(", ")) }
}

fn named(container: &str) -> String {
    if container.is_empty() { String::new() } else { format!("{container}: ") }
}

fn shown(sign: Sign) -> &'static str {
    match sign {
        Sign::Running => "runs",
        Sign::ContainerId => "has run, for it has an ID",
        Sign::StartedAt => "has run, for it has a start time",
        Sign::LastState => "has run before, for it has a last state",
        Sign::RestartCount => "has run before, for it was restarted",
        Sign::Terminated => "has run, for its runtime told its end",
        Sign::Event => "has run, for an event said so",
    }
}
