//! What happens to a pod and its observer, and what the ledger makes of it.

use crate::pods::{P, creating, fresh, runs};
use Step::{Deleted, Gap, Later, Missing, OurDelete, Relisted, Resumed, Seen};
use kpo_core::pod::EventObject;
use kpo_core::spec::ExitZeroAfterTerm;
use kpo_core::{Absence, Class, ClusterEvent, Ledger, Sight, Situation, Template, Time, Verdict, classify};
use std::time::Duration;

#[derive(Clone)]
pub(crate) enum Step {
    Seen(P),
    Deleted(P),
    Told(ClusterEvent),
    Gap,
    Relisted,
    Resumed,
    Missing,
    OurDelete,
    Later(u64),
}

/// A DELETED that carries its deletion, as the registry writes it.
pub(crate) fn gone(pod: P) -> Step {
    Deleted(pod.deleting(0))
}

pub(crate) fn told(reason: &str, message: &str, reporter: &str) -> Step {
    let involved_object = EventObject { kind: "Pod".into(), uid: "u1".into(), ..EventObject::default() };
    Step::Told(ClusterEvent {
        kind: "Normal".into(),
        reason: reason.into(),
        message: message.into(),
        reporter: reporter.into(),
        involved_object,
        ..ClusterEvent::default()
    })
}

pub(crate) fn started_event(container: &str) -> Step {
    let Step::Told(mut event) = told("Started", "Started container", "kubelet") else { unreachable!() };
    event.involved_object.field_path = format!("spec.containers{{{container}}}");
    Step::Told(event)
}

pub(crate) fn template() -> Template {
    let counted = ["base", "setup"].map(str::to_owned).to_vec();
    Template {
        container: "base".into(),
        counted,
        grace_seconds: 5,
        active_deadline_seconds: None,
        names_its_node: false,
    }
}

/// Replays the steps, a second apart. Returns the ledger and the moment after the last.
pub(crate) fn replay(steps: &[Step]) -> (Ledger, Time) {
    let (mut ledger, mut now) = (Ledger::default(), Time::from_secs(1_800_000_000));
    for step in steps {
        now = now + Duration::from_secs(1);
        match step {
            Seen(pod) => drop(ledger.observe(now, Sight::Present, &pod.0)),
            Deleted(pod) => drop(ledger.observe(now, Sight::Deleted, &pod.0)),
            Step::Told(event) => ledger.told(now, event),
            Gap => ledger.gap(now),
            Relisted => ledger.covered(now, false),
            Resumed => ledger.covered(now, true),
            Missing => ledger.gone(now, Absence::Unobserved),
            OurDelete => ledger.our_delete(now),
            Later(seconds) => now = now + Duration::from_secs(*seconds),
        }
    }
    (ledger, now)
}

pub(crate) fn judged(steps: &[Step]) -> Option<Verdict> {
    let (ledger, now) = replay(steps);
    let ended = ledger.situation(now, &template()) == Situation::Ended;
    classify::judge(&ledger, &template(), ExitZeroAfterTerm::Success).filter(|_| ended)
}

/// `class/cause/started reason exit proof`, and whether something may run on.
pub(crate) fn said(steps: &[Step]) -> String {
    let Some(verdict) = judged(steps) else { return "alive".into() };
    let class = match &verdict.class {
        Class::Disrupted { cause, started } => format!("{}/{}", cause.name(), started.name()),
        class => class.name().to_owned(),
    };
    let code = verdict.exit_code.map(|code| format!(" exit {code}")).unwrap_or_default();
    let proof = verdict.proof.map(|proof| format!(" by {}", serde_json::to_value(proof).unwrap().as_str().unwrap()));
    let stopped = if verdict.stopped { "" } else { ", may run on" };
    format!("{class}: {}{code}{}{stopped}", verdict.reason, proof.unwrap_or_default())
}

pub(crate) fn check(table: &[(&str, Vec<Step>, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|(name, steps, expected)| {
            let said = said(steps);
            (said != *expected).then(|| format!("{name}\n  is        {said}\n  should be {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// From its creation to the running program, then `rest`.
pub(crate) fn ran(rest: impl IntoIterator<Item = Step>) -> Vec<Step> {
    [Seen(fresh()), Seen(creating()), Seen(runs())].into_iter().chain(rest).collect()
}

/// From its creation to the kubelet's first word, then `rest`.
pub(crate) fn starting(rest: impl IntoIterator<Item = Step>) -> Vec<Step> {
    [Seen(fresh()), Seen(creating())].into_iter().chain(rest).collect()
}
