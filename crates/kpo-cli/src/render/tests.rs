//! What a person reads, at a fixed clock.

use super::*;
use crate::printer::Tone;
use crate::retries::Retry;
use crate::session::Errand;
use kpo_core::{
    AttemptRecord, AttemptVerdict, Because, Cause, Class, Event, Found, Hindrance, Next, NoRerun, Outcome, PodRef,
    Proof, Reason, Spec, Started, Stop, Time, Times, Verdict,
};
use std::time::Duration;

mod clocks;
mod leave;
mod next;

const BEGAN: Time = Time::from_secs(1_795_471_807);

fn at(millis: u64) -> Time {
    BEGAN + Duration::from_millis(millis)
}

fn verdict(class: Class, reason: Reason, exit_code: Option<i32>, detail: &str) -> Verdict {
    let proof = matches!(class, Class::Disrupted { started: Started::Never, .. }).then_some(Proof::KubeletAttested);
    let detail = (!detail.is_empty()).then(|| detail.to_owned());
    Verdict { class, reason, exit_code, proof, detail, stopped: true, evidence: vec![] }
}

fn disrupted(cause: Cause, started: Started, detail: &str) -> Verdict {
    verdict(Class::Disrupted { cause, started }, Reason::of_cause(cause), None, detail)
}

fn attempt(number: u32, verdict: Verdict, ran: Option<u64>) -> AttemptRecord {
    AttemptRecord {
        number,
        pod: PodRef {
            name: format!("t-{number}"),
            namespace: "default".into(),
            uid: "u".into(),
            node: Some(format!("node-{number}")),
        },
        verdict: Some(AttemptVerdict { verdict, entries: vec![] }),
        last_status: None,
        times: Times { started: ran.map(|_| at(0)), ended: ran.map(at), ..Times::default() },
    }
}

fn outcome(attempts: Vec<AttemptRecord>) -> Outcome {
    let mut outcome = Outcome::living("t", "default", attempts);
    if let Some(judged) = outcome.attempts.last().and_then(|attempt| attempt.verdict.clone()) {
        outcome.conclude(&judged.verdict);
    }
    outcome
}

/// Of a pod that runs, found by who only follows.
fn adopted() -> Event {
    let found = Found::Living;
    Event::Adopted { attempt: 1, pod: "t-1".into(), uid: "u".into(), follows: true, recreates: true, found }
}

fn spec() -> Spec {
    Spec::minimal("t", "default", "n")
}

fn teller() -> Teller {
    Teller::new(&spec(), None, false, Errand::Run)
}

fn shown(outcome: &Outcome, why: Option<NoRerun>, last: Option<&str>) -> String {
    let spec = spec();
    shown_of(outcome, Known { container: "base", why, last_line: last, spec: Some(&spec), ..Known::default() })
}

fn shown_of(outcome: &Outcome, known: Known<'_>) -> String {
    let ending = ending(outcome, known);
    let next: String = ending.next.iter().map(|next| format!("\n  {next}")).collect();
    format!("{:?} {}{next}\n", ending.tone, ending.line)
}

#[test]
fn endings() {
    let preempted = |started| disrupted(Cause::Preemption, started, "preempted by pod default/urgent on node node-1");
    let one = |verdict, ran| outcome(vec![attempt(1, verdict, ran)]);
    let failed = |reason, code, detail| verdict(Class::Failed, reason, code, detail);
    let launch = |reason, detail| verdict(Class::LaunchFailed, reason, None, detail);
    let ok = || verdict(Class::Succeeded, Reason::Succeeded, Some(0), "");
    let dying = verdict(
        Class::Succeeded,
        Reason::SucceededWhileTerminating,
        Some(0),
        "preempted by pod default/urgent on node node-1",
    );
    let mut spoilt = one(ok(), Some(2_000));
    spoilt.spoil(Reason::ResultMissing, "the result was cut: 10 of 20 bytes arrived");
    let after = outcome(vec![
        attempt(1, preempted(Started::Never), None),
        attempt(2, preempted(Started::Never), None),
        attempt(3, ok(), Some(100)),
    ]);
    let retried =
        outcome(vec![attempt(1, failed(Reason::ProgramFailed, Some(1), ""), Some(5)), attempt(2, ok(), Some(100))]);
    let cases = [
        shown(&one(ok(), Some(100)), None, None),
        shown(&one(dying, Some(100)), None, None),
        shown(&after, None, None),
        shown(&retried, None, None),
        shown(
            &one(failed(Reason::ProgramFailed, Some(3), ""), Some(12_000)),
            None,
            Some("oops: no such \u{1b}[31mtable"),
        ),
        shown(&one(failed(Reason::OutOfMemory, Some(137), ""), Some(190_000)), None, None),
        shown(&one(failed(Reason::InitFailed, None, "init container setup: Error, exit code 7"), None), None, None),
        shown(&spoilt, None, None),
        shown(&one(preempted(Started::Started), Some(41_000)), Some(NoRerun::Policy), None),
        shown(&one(preempted(Started::Never), None), Some(NoRerun::Budget), None),
        shown(&one(disrupted(Cause::DeletedOutside, Started::Unknown, ""), None), Some(NoRerun::UnsignedDelete), None),
        shown(&one(disrupted(Cause::Unreachable, Started::Started, ""), Some(360_000)), Some(NoRerun::Policy), None),
        shown(&one(launch(Reason::Image, "busybox:1.99: not found"), None), None, None),
        shown(
            &one(
                launch(
                    Reason::Forbidden,
                    "pods is forbidden: User \"kpo\" cannot create resource \"pods\" in API group \"\" in the namespace \"prod\"",
                ),
                None,
            ),
            None,
            None,
        ),
        shown(&one(verdict(Class::Cancelled, Reason::Timeout, None, ""), Some(1_800_000)), None, None),
        shown(&one(verdict(Class::Cancelled, Reason::CancelledByUser, None, ""), Some(3_000)), None, None),
    ];
    insta::assert_snapshot!(cases.concat());
}

/// Every reason has its line: one line, harmless, with a full stop where a next step follows.
#[test]
fn every_reason_is_one_line() {
    let classes = [
        Class::Failed,
        Class::LaunchFailed,
        Class::Cancelled,
        Class::Disrupted { cause: Cause::Other, started: Started::Unknown },
    ];
    for reason in Reason::ALL {
        for class in &classes {
            let text = one_line(
                &outcome(vec![attempt(1, verdict(class.clone(), reason, None, "bad\n\u{1b}[2J words."), None)]),
                Known::default(),
            );
            assert!(!text.contains(['\n', '\u{1b}', '`']), "{reason:?}: {text}");
            assert!(text.contains("node-1") && text.len() < 600, "{reason:?}: {text}");
        }
    }
}

fn told(events: &[(u64, Event)]) -> String {
    let spec = Spec::minimal("fresh-squeeze", "default", "n");
    told_to(&mut Teller::new(&spec, None, false, Errand::Run), events)
}

fn told_to(teller: &mut Teller, events: &[(u64, Event)]) -> String {
    let mut text = String::new();
    for (millis, event) in events {
        for line in teller.tell(event, at(*millis)) {
            let mark = match line.tone {
                Tone::Plain => ' ',
                Tone::Good => '+',
                Tone::Bad => '!',
                Tone::Odd => '~',
            };
            text.push_str(&format!("{mark} {}\n", line.text));
        }
    }
    text
}

fn created(attempt: u32, backoff: Option<u64>) -> Event {
    let (pod, uid) = (format!("fresh-squeeze-{attempt}"), "u".to_owned());
    Event::Created { attempt, pod, uid, at_most: 9, backoff: backoff.map(Duration::from_secs) }
}

#[test]
fn the_seeds_story() {
    let node = |message: Option<&str>| Because::Node {
        message: message.map(str::to_owned),
        scaling_up: false,
        refused: None,
        deadline: None,
    };
    let preempted =
        disrupted(Cause::Preemption, Started::Never, "preempted by pod kube-system/node-agent-7d242 on node node-1");
    let rerun = Next::Rerun { backoff: Duration::from_secs(2), left: 7 };
    let events = [
        (0, created(1, None)),
        (5, Event::Waiting { attempt: 1, because: node(None) }),
        (
            6,
            Event::Waiting {
                attempt: 1,
                because: node(Some("0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate.")),
            },
        ),
        (300, Event::Assigned { attempt: 1, node: "node-1".into() }),
        (1_000, Event::Disrupting { attempt: 1, reason: Reason::Preempted, detail: None }),
        (1_100, Event::Ended { attempt: 1, verdict: Box::new(preempted), next: rerun }),
        (1_150, created(2, Some(2))),
        (1_200, Event::Sight { watching: true }),
        (3_400, Event::Assigned { attempt: 2, node: "node-2".into() }),
        (
            3_500,
            Event::Waiting {
                attempt: 2,
                because: Because::Start {
                    node: "node-2".into(),
                    waiting: Some("base: ContainerCreating".into()),
                    message: None,
                    deadline: None,
                },
            },
        ),
        (
            3_600,
            Event::Waiting {
                attempt: 2,
                because: Because::Start {
                    node: "node-2".into(),
                    waiting: Some("base: ErrImagePull".into()),
                    message: Some("busybox:9: not found".into()),
                    deadline: None,
                },
            },
        ),
        (64_000, Event::Running { attempt: 2, node: "node-2".into() }),
        (65_000, Event::Sight { watching: false }),
        (66_000, Event::Sight { watching: true }),
        (
            66_500,
            Event::Unwatched {
                protected: true,
                every: Duration::from_secs(5),
                message: "pods is forbidden: User \"u\" cannot watch resource \"pods\" in API group \"\"".into(),
            },
        ),
        (67_000, Event::Hindered { what: Hindrance::Events, message: "events is forbidden.".into() }),
        (68_000, Event::Stopping { stop: Stop::User, because: Because::Creation }),
        (68_500, Event::Finished),
    ];
    insta::assert_snapshot!(told(&events));
}

#[test]
fn the_live_line_names_the_clock_that_runs_and_what_is_left() {
    let deadline = Some(at(600_000));
    let waits = [
        Because::Creation,
        Because::Admission { message: "exceeded quota: team-a".into(), deadline },
        Because::Backoff,
        Because::Predecessor,
        Because::Queue { gates: vec!["kueue.x-k8s.io/admission".into()], deadline: None },
        Because::Node { message: None, scaling_up: true, refused: None, deadline },
        Because::Node {
            message: Some("0/3 nodes are available: 3 Insufficient cpu.".into()),
            scaling_up: false,
            refused: Some("pod didn't trigger scale-up: 1 max node group size reached".into()),
            deadline,
        },
        Because::Node {
            message: Some("0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3.".into()),
            scaling_up: false,
            refused: None,
            deadline,
        },
        Because::Start {
            node: "node-2".into(),
            waiting: Some("base: ContainerCreating".into()),
            message: None,
            deadline,
        },
        Because::Program { node: "node-2".into(), deadline: None },
        Because::Program { node: "node-2".into(), deadline },
        Because::Termination { node: Some("node-2".into()) },
        Because::Unreachable { node: "node-2".into(), may_pull: false },
        Because::Unreachable { node: "node-2".into(), may_pull: true },
        Because::Completion,
    ];
    let lines = waits.map(|because| {
        let mut teller = teller();
        teller.waits(&because, at(0));
        format!("{}\n", teller.status(at(12_400)).unwrap_or_default())
    });
    insta::assert_snapshot!(lines.concat());
    let mut teller = teller();
    assert_eq!(teller.status(at(0)), None);
    teller.waits(&Because::Finished, at(0));
    assert_eq!(teller.status(at(0)), None);
}

#[test]
fn gaps_say_where_and_why() {
    let why = "the pod went away before they could be read";
    let said = [(Some(at(0)), Some(at(2_100))), (Some(at(0)), None), (None, Some(at(0))), (None, None)]
        .map(|(after, before)| gap(after, before, why));
    insta::assert_snapshot!(said.join("\n"));
}

/// A node's clock tells how long the program ran; when that came to be seen says nothing.
#[test]
fn durations_are_the_programs_own() {
    let of = |started: &str, finished: &str| {
        let status = serde_json::json!({"containerStatuses": [{"name": "base", "state": {"terminated":
            {"exitCode": 3, "startedAt": started, "finishedAt": finished}}}]});
        let mut attempt = attempt(1, verdict(Class::Failed, Reason::ProgramFailed, Some(3), ""), Some(900));
        attempt.last_status = serde_json::from_value(status).unwrap();
        shown(&outcome(vec![attempt]), None, None)
    };
    let line = |span| format!("Bad failed: the program exited 3 on node-1 after {span} (attempt 1).\n");
    assert_eq!(of("2026-11-23T22:10:07Z", "2026-11-23T22:10:19Z"), line("12 s"));
    assert_eq!(of("2026-11-23T22:10:07Z", "2026-11-23T22:10:07Z"), line("less than 1 s"));
    assert_eq!(of("2026-11-23T22:10:07Z", "2026-11-23T22:10:08Z"), line("about 1 s"));
    // A container that never had a start time: the observer's clock.
    assert_eq!(of("1970-01-01T00:00:00Z", "2026-11-23T22:10:07Z"), line("0.9 s"));
}

#[test]
fn a_deletion_that_nobody_signed_is_told_at_once() {
    let ending = || Event::Waiting { attempt: 1, because: Because::Termination { node: Some("node-1".into()) } };
    let said = "~    0.5s  is being deleted; nobody signed it so far (no scheduler, autoscaler or node)\n";
    let begun = "  fresh-squeeze  attempt 1 of ≤ 9   created fresh-squeeze-1\n";
    assert_eq!(told(&[(0, created(1, None)), (500, ending())]), format!("{begun}{said}"));
    let signed = Event::Disrupting { attempt: 1, reason: Reason::Preempted, detail: None };
    let told = told(&[(0, created(1, None)), (500, signed), (500, ending())]);
    assert!(!told.contains("nobody signed"), "{told}");
}

#[test]
fn who_was_taken_over_says_so() {
    let taken = Event::TakenOver { by: "kpo-8e1f/2".into() };
    let line = "~    1.0s  taken over by another observer (kpo-8e1f/2), to go on with it or to cancel it: this process leaves\n         how it ends is known there: kpo wait fresh-squeeze -n default\n";
    let text = told(&[(0, created(1, None)), (1_000, taken)]);
    assert!(text.ends_with(line), "{text}");
}

#[test]
fn an_image_that_cannot_heal_names_the_flag_that_ends_at_once() {
    let waits = |reason: &str| Event::Waiting {
        attempt: 1,
        because: Because::Start {
            node: "node-1".into(),
            waiting: Some(format!("base: {reason}")),
            message: Some("bad words".into()),
            deadline: None,
        },
    };
    let line = |reason| told(&[(0, created(1, None)), (100, waits(reason))]).lines().last().map(str::to_owned).unwrap();
    assert_eq!(
        line("InvalidImageName"),
        "~    0.1s  waiting: base: InvalidImageName: bad words. This cannot heal: --fail-fast-images ends at once"
    );
    assert_eq!(line("ErrImagePull"), "~    0.1s  waiting: base: ErrImagePull: bad words");
}

/// Of an outage that the watch has told of, requests tell nothing.
#[test]
fn an_outage_is_told_until_it_is_over() {
    let failing = |what: &str| Retry::Failing { what: what.to_owned(), why: "connection refused".to_owned() };
    let mut teller = teller();
    let first = teller.retry(&failing("create pods"), None).expect("told");
    assert_eq!(first.text, "cannot create pods yet (connection refused); it is tried again");
    let lasts = teller.retry(&failing("list events"), None).expect("told: it lasts");
    assert_eq!(lasts.text, "cannot list events yet (connection refused); it is tried again");
    assert_eq!(teller.retry(&Retry::Recovered, None).expect("told").text, "the API server answers again");
    assert_eq!(teller.retry(&Retry::Recovered, None), None);
    teller.trouble("it broke", at(1_000));
    assert_eq!(teller.retry(&failing("list events"), None), None, "the watch has told of it");
    assert_eq!(teller.retry(&Retry::Recovered, None), None);
}
