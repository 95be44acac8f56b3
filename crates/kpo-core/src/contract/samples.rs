//! One of each event as JSON, for readers in other languages: docs/events.jsonl, which their tests read.

use super::*;
use crate::verdict::{Cause, Class, Proof, Started};
use std::collections::BTreeSet;
use std::path::Path;

/// The names of all events.
const NAMES: [&str; 15] = [
    "created",
    "adopted",
    "ungated",
    "assigned",
    "waiting",
    "running",
    "disrupting",
    "ended",
    "stopping",
    "deleting",
    "takenOver",
    "sight",
    "unwatched",
    "hindered",
    "finished",
];

/// Names what there is: another event, or another wait, is an error here until there is a sample of it.
fn name(event: &Event) -> &'static str {
    match event {
        Event::Created { .. } => NAMES[0],
        Event::Adopted { .. } => NAMES[1],
        Event::Ungated { .. } => NAMES[2],
        Event::Assigned { .. } => NAMES[3],
        Event::Waiting { .. } => NAMES[4],
        Event::Running { .. } => NAMES[5],
        Event::Disrupting { .. } => NAMES[6],
        Event::Ended { .. } => NAMES[7],
        Event::Stopping { .. } => NAMES[8],
        Event::Deleting { .. } => NAMES[9],
        Event::TakenOver { .. } => NAMES[10],
        Event::Sight { .. } => NAMES[11],
        Event::Unwatched { .. } => NAMES[12],
        Event::Hindered { .. } => NAMES[13],
        Event::Finished => NAMES[14],
    }
}

const AT: Time = Time(1_795_490_818_799_308_693);

fn waits() -> Vec<Because> {
    let (node, deadline) = (|| "node-1".to_owned(), Some(AT));
    let message = || "the cluster's sentence".to_owned();
    vec![
        Because::Creation,
        Because::Admission { message: message(), deadline },
        Because::Backoff,
        Because::Predecessor,
        Because::Queue { gates: vec!["kueue.x-k8s.io/admission".to_owned()], deadline },
        Because::Node { message: Some(message()), scaling_up: true, refused: Some(message()), deadline },
        Because::Start { node: node(), waiting: Some("base: ErrImagePull".into()), message: Some(message()), deadline },
        Because::Program { node: node(), deadline },
        Because::Termination { node: None },
        Because::Unreachable { node: node(), may_pull: false },
        Because::Completion,
        Because::Finished,
        Because::Detached,
    ]
}

fn verdict() -> Verdict {
    Verdict {
        class: Class::Disrupted { cause: Cause::Preemption, started: Started::Never },
        reason: Reason::Preempted,
        exit_code: None,
        proof: Some(Proof::KubeletAttested),
        detail: Some("preempted by pod kube-system/agent".to_owned()),
        stopped: true,
        evidence: vec![0, 2],
    }
}

fn samples() -> Vec<Event> {
    let (pod, uid, node) = (|| "nightly-1".to_owned(), || "uid".to_owned(), || "node-1".to_owned());
    let span = Duration::from_millis(2_250);
    let ended = |next| Event::Ended { attempt: 1, verdict: Box::new(verdict()), next };
    let mut events = vec![
        Event::Created { attempt: 1, pod: pod(), uid: uid(), at_most: 9, backoff: Some(span) },
        Event::Adopted { attempt: 1, pod: pod(), uid: uid(), follows: true, recreates: false, found: Found::Ending },
        Event::Ungated { attempt: 1 },
        Event::Assigned { attempt: 1, node: node() },
        Event::Running { attempt: 1, node: node() },
        Event::Disrupting { attempt: 1, reason: Reason::Preempted, detail: Some("its words".to_owned()) },
        ended(Next::Rerun { backoff: span, left: 7 }),
        ended(Next::End { why: Some(NoRerun::Budget) }),
        Event::Stopping { stop: Stop::User, because: Because::Backoff },
        Event::Deleting { attempt: 1, reason: Reason::CancelledByUser, grace_seconds: 30 },
        Event::TakenOver { by: "kpo-1".to_owned() },
        Event::Sight { watching: true },
        Event::Unwatched { protected: true, every: span, message: "forbidden".to_owned() },
        Event::Hindered { what: Hindrance::Release, message: "forbidden".to_owned() },
        Event::Finished,
    ];
    events.extend(waits().into_iter().map(|because| Event::Waiting { attempt: 1, because }));
    events
}

#[test]
fn there_is_a_sample_of_each_event() {
    let names: BTreeSet<&str> = samples().iter().map(name).collect();
    assert_eq!(names, BTreeSet::from(NAMES));
    for event in samples() {
        let value = serde_json::to_value(&event).unwrap();
        assert_eq!(value["event"], name(&event));
        assert_eq!(serde_json::from_value::<Event>(value).unwrap(), event);
    }
}

#[test]
fn the_samples_are_written_down() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/events.jsonl");
    let line = |event: &Event| serde_json::to_string(event).unwrap() + "\n";
    let wanted: String = samples().iter().map(line).collect();
    if std::env::var_os("KPO_BLESS").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == wanted, "docs/events.jsonl is not what the events are: KPO_BLESS=1 cargo test -p kpo-core --lib");
}
