//! What is said where this process leaves.

use super::*;
use serde_json::json;

const MINE: Leaving<'_> = Leaving { namespace: "b", again: " -n b", watched_over: true, cancelling: false };

fn because(text: serde_json::Value) -> Because {
    serde_json::from_value(text).unwrap()
}

fn shutdown(because: Because) -> Event {
    Event::Stopping { stop: Stop::Shutdown, because }
}

fn left(spec: &Spec, events: &[(u64, Event)], how: &Leaving<'_>) -> String {
    let mut teller = Teller::new(spec, None, false, Errand::Run);
    told_to(&mut teller, events);
    teller.left(how, at(10_000)).join("\n")
}

fn running() -> Because {
    Because::Program { node: "node-1".into(), deadline: None }
}

fn made() -> (u64, Event) {
    (0, Event::Created { attempt: 1, pod: "t-1".into(), uid: "u".into(), at_most: 9, backoff: None })
}

#[test]
fn what_the_pod_does_when_nobody_watches() {
    let node =
        || because(json!({"for": "node", "message": null, "scalingUp": false, "refused": null, "deadline": null}));
    let queue = || because(json!({"for": "queue", "gates": ["kueue.x-k8s.io/admission"], "deadline": null}));
    let start =
        || because(json!({"for": "start", "node": "node-1", "waiting": null, "message": null, "deadline": null}));
    let of = |because| left(&spec(), &[made(), (1, shutdown(because))], &MINE);
    let said = [
        running(),
        node(),
        queue(),
        start(),
        Because::Completion,
        Because::Unreachable { node: "node-1".into(), may_pull: false },
    ]
    .map(of);
    insta::assert_snapshot!(said.join("\n"));
}

/// The pod carries the template's deadline and the total clock: whichever ends first ends it, also where nobody watches.
#[test]
fn when_it_ends_by_itself_is_what_its_pod_carries() {
    let mut spec = spec();
    let assigned = || (4_000, Event::Assigned { attempt: 1, node: "node-1".into() });
    let of = |spec: &Spec, events: &[(u64, Event)]| {
        left(spec, events, &MINE)
            .lines()
            .next()
            .and_then(|line| line.split_once("; "))
            .map(|(_, end)| end.to_owned())
            .unwrap()
    };
    let pending =
        [made(), (1, shutdown(Because::Node { message: None, scaling_up: false, refused: None, deadline: None }))];
    let runs = [made(), assigned(), (5_000, shutdown(running()))];
    assert_eq!(of(&spec, &runs), "it has no deadline: it runs until its program ends");
    // That clock is kept by an observer alone.
    spec.clocks.run = Some(Duration::from_secs(60));
    let by_run = Because::Program { node: "node-1".into(), deadline: Some(at(64_000)) };
    assert_eq!(
        of(&spec, &[made(), assigned(), (5_000, shutdown(by_run))]),
        "it has no deadline: it runs until its program ends"
    );
    spec.clocks.total = Some(Duration::from_secs(300));
    assert_eq!(of(&spec, &pending), "it ends by itself, at the latest 5 m after it has come to a node");
    assert_eq!(of(&spec, &runs), "it ends by itself, at the latest in 4 m 54 s");
    spec.template.active_deadline_seconds = Some(60);
    assert_eq!(of(&spec, &runs), "it ends by itself, at the latest in 54 s");
    (spec.clocks.total, spec.clocks.run, spec.template.active_deadline_seconds) =
        (Some(Duration::from_secs(30)), None, None);
    let by_total = Because::Program { node: "node-1".into(), deadline: Some(at(30_000)) };
    assert_eq!(
        of(&spec, &[made(), assigned(), (5_000, shutdown(by_total))]),
        "it ends by itself, at the latest in 20 s"
    );
}

/// A replacement that is held by kpo's gate begins only when somebody lifts it.
#[test]
fn a_gated_attempt_is_not_said_to_run() {
    let ended = || {
        let next = Next::Rerun { backoff: Duration::from_secs(2), left: 7 };
        (10, Event::Ended { attempt: 1, verdict: Box::new(disrupted(Cause::Preemption, Started::Never, "")), next })
    };
    let second = || {
        let backoff = Some(Duration::from_secs(2));
        (20, Event::Created { attempt: 2, pod: "t-2".into(), uid: "u".into(), at_most: 9, backoff })
    };
    let gated = left(&spec(), &[made(), ended(), second(), (30, shutdown(Because::Backoff))], &MINE);
    assert_eq!(
        gated,
        "detached: pod t-2 in namespace b is held by the gate kpo.rs/backoff\n  It starts only after: kpo attach t --take-over -n b"
    );
    let unmade = left(&spec(), &[made(), ended(), (30, shutdown(Because::Backoff))], &MINE);
    assert_eq!(
        unmade,
        "detached: the attempt after pod t-1 in namespace b is not made yet\n  As long as that pod is there, this makes it: kpo attach t --take-over -n b"
    );
}

#[test]
fn before_there_is_a_pod() {
    let refused = Because::Admission { message: "exceeded quota".into(), deadline: None };
    assert_eq!(left(&spec(), &[(0, shutdown(refused))], &MINE), "left: no pod was created, and nothing is left behind");
    let said = left(&spec(), &[(0, shutdown(Because::Creation))], &MINE);
    assert_eq!(
        said,
        "left: the API server has yet to answer the create: pod t-1 may come to be\n  If it does: kpo attach t --take-over -n b"
    );
}

/// Who only followed cancels nothing, and knows nothing of whether an observer is left.
#[test]
fn a_follower_leaves_the_task_to_its_observer() {
    let mut teller = teller();
    let cancel = Event::Stopping { stop: Stop::User, because: running() };
    let told = told_to(&mut teller, &[(0, adopted()), (1, cancel)]);
    assert!(!told.contains("cancelling"), "{told}");
    let how = Leaving { watched_over: false, cancelling: true, ..MINE };
    let said = teller.left(&how, at(2)).join("\n");
    assert_eq!(
        said,
        "left: pod t-1 in namespace b runs on\n  It was only followed here. To cancel it: kpo cancel t -n b"
    );
    assert_eq!(teller.left_at_once(&how), "left at once: pod t-1 in namespace b is left as it is: kpo attach t -n b");
}

#[test]
fn a_second_signal_names_what_may_be_left() {
    let mut teller = teller();
    let cancelling = Leaving { cancelling: true, ..MINE };
    assert_eq!(
        teller.left_at_once(&cancelling),
        "left at once: pod t-1, if it was created, in namespace b may be left behind: kpo cancel t -n b"
    );
    told_to(&mut teller, &[made()]);
    assert_eq!(
        teller.left_at_once(&cancelling),
        "left at once: pod t-1 in namespace b may be left behind: kpo cancel t -n b"
    );
    assert_eq!(teller.left_at_once(&MINE), "left at once: pod t-1 in namespace b is left as it is: kpo attach t -n b");
}

/// Its observer may be dead: who only follows waits for the next attempt, and says who could make it.
#[test]
fn a_follower_of_a_task_that_nobody_watches_says_what_it_waits_for() {
    let next = Next::Rerun { backoff: Duration::from_secs(2), left: 7 };
    let preempted = disrupted(Cause::Preemption, Started::Never, "");
    let ended = Event::Ended { attempt: 1, verdict: Box::new(preempted), next };
    let mut teller = teller();
    let told = told_to(&mut teller, &[(0, adopted()), (1_000, ended)]);
    let who = "         the next attempt is its observer's to make; if nobody watches over it any more: kpo attach t --take-over -n default\n";
    assert!(told.ends_with(who), "{told}");
    let status = teller.status(at(13_000)).unwrap();
    assert_eq!(status, "t  ended; waiting for its observer to make the next attempt for 12 s");
    let how = Leaving { watched_over: false, cancelling: true, ..MINE };
    let of_user = Event::Stopping { stop: Stop::User, because: Because::Completion };
    told_to(&mut teller, &[(13_000, of_user)]);
    assert_eq!(
        teller.left(&how, at(13_000)).join("\n"),
        "left: pod t-1 in namespace b has ended, and the attempt after it is not made yet\n  Its observer makes it. If nobody watches over it any more: kpo attach t --take-over -n b"
    );
}

#[test]
fn a_follower_does_not_say_of_a_pod_that_has_ended_that_it_runs_on() {
    let how = Leaving { watched_over: false, ..MINE };
    let mut teller = teller();
    told_to(&mut teller, &[(0, adopted()), (1, shutdown(Because::Completion))]);
    assert_eq!(teller.left(&how, at(2)), ["left: pod t-1 in namespace b has ended; it was only followed here"]);
}
