//! The live line, from what happens.

use super::*;
use serde_json::json;

fn status(events: &[(u64, Event)], now: u64) -> String {
    let pod = json!({"spec": {"containers": [{"name": "base", "image": "busybox:1.36"}]}});
    let mut teller = Teller::new(&spec(), Some(pod), false, Errand::Run);
    told_to(&mut teller, events);
    teller.status(at(now)).unwrap_or_default()
}

fn made() -> (u64, Event) {
    (0, Event::Created { attempt: 1, pod: "t-1".into(), uid: "u".into(), at_most: 9, backoff: None })
}

fn starting(waiting: &str, message: &str) -> (u64, Event) {
    let because = Because::Start {
        node: "node-1".into(),
        waiting: Some(waiting.into()),
        message: Some(message.into()),
        deadline: None,
    };
    (0, Event::Waiting { attempt: 1, because })
}

#[test]
fn throughout_the_grace_it_counts_down_to_the_kill() {
    let node = "node-1".to_owned();
    let events = [
        made(),
        (0, Event::Assigned { attempt: 1, node: node.clone() }),
        (0, Event::Running { attempt: 1, node }),
        (1_000, Event::Deleting { attempt: 1, reason: Reason::CancelledByUser, grace_seconds: 30 }),
    ];
    assert_eq!(status(&events, 10_000), "t  ending on node-1 · killed in 21 s");
    assert_eq!(status(&events, 35_000), "t  ending on node-1 · its grace has been over for 4 s");
    assert_eq!(status(&[made(), events[3].clone()], 10_000), "t  being deleted");
}

#[test]
fn a_start_names_the_image_and_says_nothing_twice() {
    let text = status(&[made(), starting("base: ContainerCreating", "ContainerCreating")], 12_000);
    assert_eq!(text, "t  starting on node-1 · base: ContainerCreating · image busybox:1.36 (12 s)");
    let text = status(&[made(), starting("base: ErrImagePull", "busybox:1.36: no such host")], 12_000);
    assert_eq!(text, "t  starting on node-1 · base: ErrImagePull: busybox:1.36: no such host (12 s)");
}

#[test]
fn after_the_end_the_log_is_waited_for() {
    let ended = verdict(Class::Succeeded, Reason::Succeeded, Some(0), "");
    let ended = (1_000, Event::Ended { attempt: 1, verdict: Box::new(ended), next: Next::End { why: None } });
    assert_eq!(status(&[made(), ended], 2_000), "t  ended; reading the rest of its log");
}

/// Where kpo's own deletion is refused the end says it; any other that is refused is said where it is.
#[test]
fn a_deletion_that_is_refused_is_said_once() {
    let refused = || Event::Hindered { what: Hindrance::Delete, message: "pods is forbidden".into() };
    let deleting = Event::Deleting { attempt: 1, reason: Reason::CancelledByUser, grace_seconds: 30 };
    let told = told_to(&mut teller(), &[made(), (1, deleting), (2, refused())]);
    assert!(!told.contains("could not be deleted"), "{told}");
    let told = told_to(&mut teller(), &[made(), (2, refused())]);
    assert!(
        told.ends_with("!    0.0s  the pod could not be deleted, and is left behind: pods is forbidden\n"),
        "{told}"
    );
}

#[test]
fn what_does_not_count_is_named_where_it_ran() {
    let ended = || {
        let next = Next::Rerun { backoff: Duration::from_secs(2), left: 7 };
        (10, Event::Ended { attempt: 1, verdict: Box::new(disrupted(Cause::Preemption, Started::Never, "")), next })
    };
    let said = |ran: &[&str]| {
        let mut teller = teller();
        told_to(&mut teller, &[made()]);
        ran.iter().for_each(|container| teller.saw(container));
        told_to(&mut teller, &[ended()])
    };
    assert!(said(&["base"]).contains("and no container of it ever had an ID   (kpo why t-1 -n default)"));
    let text = said(&["base", "istio-proxy", "istio-proxy"]);
    let words = "no container of yours ever had an ID (istio-proxy ran, which your manifest does not name)";
    assert!(text.contains(words), "{text}");
}

/// It is under way, and not done; a pod without a node has nothing that could need a grace.
#[test]
fn a_deletion_is_said_to_be_under_way() {
    let deleting = |reason| (1_000, Event::Deleting { attempt: 1, reason, grace_seconds: 30 });
    let assigned = (0, Event::Assigned { attempt: 1, node: "node-1".into() });
    let last = |events: &[(u64, Event)]| told_to(&mut teller(), events).lines().last().map(str::to_owned).unwrap();
    let bound = last(&[made(), assigned, deleting(Reason::CancelledByUser)]);
    assert_eq!(bound, "~    1.0s  deleting pod t-1, with a grace of 30 s");
    assert_eq!(last(&[made(), deleting(Reason::CancelledByUser)]), "~    1.0s  deleting pod t-1");
    let late = last(&[made(), deleting(Reason::ScheduleTimeout)]);
    assert_eq!(late, "~    1.0s  no node was found within the scheduling clock: deleting pod t-1");
}

/// What was so when the task was found has no time of its own.
#[test]
fn what_a_task_is_found_with_did_not_happen_now() {
    let running = |at| (at, Event::Running { attempt: 1, node: "node-1".into() });
    let told = told_to(&mut teller(), &[(0, adopted()), running(1)]);
    assert!(told.ends_with("           running\n"), "{told}");
    let told = told_to(&mut teller(), &[(0, adopted()), running(900)]);
    assert!(told.ends_with("     0.9s  running\n"), "{told}");
}
