//! When what a pod shows has happened, by the pod's own word: for who looks at it later.

use kpo_core::pod::Phase;
use kpo_core::{Entry, Fact, Pod, Sign, Time};
use serde_json::Value;
use std::collections::BTreeSet;

/// Dates the entries that one sight has made by what the object itself says. Those of which it says nothing keep the moment at which they were
/// seen: their indexes come back.
pub(crate) fn date(entries: &mut [Entry], sight: Time, pod: &Pod, raw: &Value) -> BTreeSet<usize> {
    let mut undated = BTreeSet::new();
    for (index, entry) in entries.iter_mut().enumerate() {
        if entry.at != sight || matches!(entry.fact, Fact::Told { .. }) {
            continue;
        }
        match own_word(&entry.fact, pod, raw) {
            Some(at) => entry.at = at.min(sight),
            None if matches!(entry.fact, Fact::FirstSeen { .. }) => {}
            None => drop(undated.insert(index)),
        }
    }
    undated
}

fn own_word(fact: &Fact, pod: &Pod, raw: &Value) -> Option<Time> {
    match fact {
        Fact::FirstSeen { from_creation: true } | Fact::Gated { .. } => created(pod),
        Fact::Unschedulable { .. } => turned(raw, "PodScheduled"),
        Fact::Assigned { .. } => turned(raw, "PodScheduled").or_else(|| parsed(pod.status.start_time.as_ref())),
        Fact::Condition { kind, .. } => turned(raw, kind),
        Fact::DeletionRequested { .. } => pod.deletion_requested_at(),
        Fact::ContainerRan { sign: Sign::Event, .. } => None,
        Fact::ContainerRan { container, .. } => started(pod, container),
        Fact::ContainerEnded { container, .. } => finished(pod, container),
        Fact::Phase { phase: Phase::Running, .. } => {
            pod.statuses().filter_map(|status| started(pod, &status.name)).min()
        }
        Fact::Phase { phase, .. } if phase.is_terminal() => {
            pod.statuses().filter_map(|status| finished(pod, &status.name)).max()
        }
        _ => None,
    }
}

fn created(pod: &Pod) -> Option<Time> {
    parsed(pod.metadata.creation_timestamp.as_ref())
}

/// When that condition turned.
fn turned(raw: &Value, kind: &str) -> Option<Time> {
    let conditions = raw["status"]["conditions"].as_array()?;
    let condition = conditions.iter().find(|condition| condition["type"] == kind)?;
    Time::parse(condition["lastTransitionTime"].as_str()?)
}

fn started(pod: &Pod, container: &str) -> Option<Time> {
    let status = pod.status_of(container)?;
    let running = status.state.running.as_ref().and_then(|running| running.started_at.as_ref());
    let ends = [&status.state, &status.last_state].map(|state| state.terminated.as_ref()?.started_at.as_ref());
    parsed(running.or(ends[0]).or(ends[1]))
}

fn finished(pod: &Pod, container: &str) -> Option<Time> {
    parsed(pod.status_of(container)?.state.terminated.as_ref()?.finished_at.as_ref())
}

/// The epoch stands for a time that is not known.
fn parsed(text: Option<&String>) -> Option<Time> {
    Time::parse(text?).filter(|at| *at > Time::default())
}
