//! The recordings of a real cluster, replayed: whole, cut short, seen through gaps, and in part.

use kpo_core::pod::{ContainerState, Waiting};
use kpo_core::spec::ExitZeroAfterTerm;
use kpo_core::{
    Class, ClusterEvent, Ledger, Pod, Proof, Reason, Sight, Situation, Started, Template, Time, Verdict, classify,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// One line of a recording.
#[derive(Deserialize)]
struct Line {
    t: f64,
    kind: String,
    #[serde(rename = "type")]
    change: String,
    object: serde_json::Value,
}

/// What is seen or told of the pod `task`.
#[derive(Clone)]
enum What {
    Seen(Sight, Box<Pod>),
    Told(Box<ClusterEvent>),
}

type Recording = Vec<(Time, What)>;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings")
}

fn names() -> Vec<String> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files.filter_map(|name| name.strip_suffix(".jsonl").map(str::to_owned)).collect();
    names.sort();
    names
}

fn recording(name: &str) -> Recording {
    let text = std::fs::read_to_string(folder().join(format!("{name}.jsonl"))).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap());
    lines.filter_map(|line| Some((Time((line.t * 1e9) as i64), what(&line)?))).collect()
}

fn what(line: &Line) -> Option<What> {
    let object = line.object.clone();
    if line.kind == "Event" {
        let event: ClusterEvent = serde_json::from_value(object).unwrap();
        return (event.involved_object.name == "task").then(|| What::Told(Box::new(event)));
    }
    let sight = if line.change == "DELETED" { Sight::Deleted } else { Sight::Present };
    let pod: Pod = serde_json::from_value(object).unwrap();
    (pod.metadata.name == "task").then(|| What::Seen(sight, Box::new(pod)))
}

/// The task's own containers, or (`kpo why` of a foreign pod) all of them.
fn template(all: bool) -> Template {
    let counted = if all { Vec::new() } else { vec!["base".to_owned(), "setup".to_owned()] };
    Template {
        container: "base".to_owned(),
        counted,
        grace_seconds: 5,
        active_deadline_seconds: None,
        names_its_node: false,
    }
}

fn take(ledger: &mut Ledger, (at, what): &(Time, What)) {
    match what {
        What::Seen(sight, pod) => {
            ledger.observe(*at, *sight, pod);
        }
        What::Told(event) => ledger.told(*at, event),
    }
}

fn replay<'a>(steps: impl IntoIterator<Item = &'a (Time, What)>) -> Ledger {
    let mut ledger = Ledger::default();
    steps.into_iter().for_each(|step| take(&mut ledger, step));
    ledger
}

fn sights(recording: &Recording) -> Recording {
    recording.iter().filter(|(_, what)| matches!(what, What::Seen(..))).cloned().collect()
}

fn verdict(ledger: &Ledger, template: &Template) -> Option<Verdict> {
    classify::judge(ledger, template, ExitZeroAfterTerm::Success)
}

/// `class/cause/started reason`, and the proof.
fn said(verdict: Option<&Verdict>) -> String {
    let Some(verdict) = verdict else { return "alive".to_owned() };
    let class = match &verdict.class {
        Class::Disrupted { cause, started } => format!("disrupted/{}/{}", cause.name(), started.name()),
        class => class.name().to_owned(),
    };
    let proof = verdict.proof.map(|proof| format!(" {}", serde_json::to_value(proof).unwrap().as_str().unwrap()));
    let code = verdict.exit_code.map(|code| format!(" exit {code}")).unwrap_or_default();
    let stopped = if verdict.stopped { "" } else { " may run on" };
    format!("{class} {}{code}{}{stopped}", verdict.reason, proof.unwrap_or_default())
}

/// What README.md says of each, with the reason, the program's exit code and the proof.
const EXPECTED: &[(&str, &str)] = &[
    ("container_record_lost_in_grace", "disrupted/deleted-outside/started deletedOutside"),
    ("create_container_config_error", "alive"),
    ("critical_pod_preempts", "disrupted/critical-pod/started preemptedByCriticalPod exit 137"),
    ("deadline_exceeded", "failed deadlineExceeded exit 137"),
    ("deleted_again_at_once", "disrupted/deleted-outside/started deletedOutside may run on"),
    ("deleted_during_slow_pull", "disrupted/deleted-outside/started deletedOutside exit 137"),
    ("deleted_in_init", "disrupted/deleted-outside/started deletedOutside"),
    ("deleted_while_pulling", "disrupted/deleted-outside/never deletedOutside kubelet-attested"),
    ("deleted_while_running", "disrupted/deleted-outside/started deletedOutside exit 137"),
    ("emptydir_over_limit", "failed storageExceeded exit 137"),
    ("evicted_by_api", "disrupted/eviction/started evicted exit 137"),
    ("failed_exit_3", "failed programFailed exit 3"),
    ("finished_while_kubelet_was_down", "succeeded succeeded exit 0"),
    ("gated_deleted", "disrupted/deleted-outside/never deletedOutside never-bound"),
    ("gates_lifted", "succeeded succeeded exit 0"),
    ("image_pull_error", "alive"),
    ("init_fails", "failed initFailed"),
    ("kubelet_restarted_while_running", "succeeded succeeded exit 0"),
    ("log_rotated", "succeeded succeeded exit 0"),
    ("memory_pressure", "disrupted/rejected/started rejected exit 137"),
    ("native_sidecar_result", "succeeded succeeded exit 0"),
    ("node_deleted", "disrupted/node-gone/started nodeGone may run on"),
    ("node_rebooted", "disrupted/node-reboot/started nodeReboot"),
    ("oom_killed", "failed outOfMemory exit 137"),
    ("out_of_service", "disrupted/taint/started taintEvicted may run on"),
    ("preempted_before_start", "disrupted/preemption/never preempted kubelet-attested"),
    ("preempted_before_start_with_sidecar", "disrupted/preemption/never preempted kubelet-attested"),
    ("preempted_finishes_in_grace", "succeeded succeededWhileTerminating exit 0"),
    ("preempted_sidecar_runs_image_pulling", "disrupted/preemption/never preempted kubelet-attested"),
    ("preempted_while_running", "disrupted/preemption/started preempted exit 137"),
    ("rejected_outofcpu", "disrupted/rejected/never rejected kubelet-rejected"),
    ("run_container_error", "launchFailed startError exit 128"),
    ("slow_pull", "succeeded succeeded exit 0"),
    ("storage_pressure", "disrupted/rejected/started rejected exit 137"),
    ("succeeded", "succeeded succeeded exit 0"),
    ("succeeded_then_deleted", "succeeded succeeded exit 0"),
    ("taint_evicted_while_running", "disrupted/taint/started taintEvicted exit 137"),
    ("unreachable_then_back", "disrupted/taint/started taintEvicted exit 137"),
    ("unscheduled_deleted", "disrupted/deleted-outside/never deletedOutside never-bound"),
];

/// What differs where all containers count.
const EXPECTED_OF_FOREIGN: &[(&str, &str)] =
    &[("preempted_sidecar_runs_image_pulling", "disrupted/preemption/started preempted")];

fn expected(name: &str, all: bool) -> &'static str {
    let foreign = EXPECTED_OF_FOREIGN.iter().filter(|_| all);
    foreign.chain(EXPECTED).find(|(n, _)| *n == name).unwrap_or_else(|| panic!("{name} is not in the table")).1
}

fn each(mut body: impl FnMut(&str, &Recording, &Template, bool)) {
    for name in names() {
        let recording = recording(&name);
        for all in [false, true] {
            body(&name, &recording, &template(all), all);
        }
    }
}

#[test]
fn each_recording_gives_the_verdict_of_its_readme() {
    assert_eq!(names(), EXPECTED.iter().map(|(name, _)| (*name).to_owned()).collect::<Vec<_>>());
    each(|name, recording, template, all| {
        let ledger = replay(recording);
        assert_eq!(said(verdict(&ledger, template).as_ref()), expected(name, all), "{name}, all containers: {all}");
    });
}

/// As a kubelet of 1.36 has written it: it found no container after its restart, and failed the pod while its status still waited to be made again.
#[test]
fn a_container_that_waits_in_a_pod_that_has_failed_was_lost_before() {
    let mut sights = sights(&recording("node_rebooted"));
    let waiting = ContainerState { waiting: Some(Waiting::default()), ..ContainerState::default() };
    for (_, what) in &mut sights {
        let What::Seen(_, pod) = what else { unreachable!() };
        if pod.status.phase.is_terminal() {
            pod.status.container_statuses.iter_mut().for_each(|status| status.state = waiting.clone());
        }
    }
    assert!(sights.iter().any(|(_, what)| matches!(what, What::Seen(_, pod) if pod.status.phase.is_terminal())));
    assert_eq!(said(verdict(&replay(&sights), &template(false)).as_ref()), expected("node_rebooted", false));
}

#[test]
fn the_verdict_needs_no_events() {
    each(|name, recording, template, all| {
        let ledger = replay(&sights(recording));
        assert_eq!(said(verdict(&ledger, template).as_ref()), expected(name, all), "{name}, all containers: {all}");
    });
}

#[test]
fn a_prefix_has_no_verdict_before_the_end_and_no_other_after_it() {
    each(|name, recording, template, all| {
        let mut ledger = Ledger::default();
        let mut ended = false;
        for step in sights(recording) {
            take(&mut ledger, &step);
            let now = step.0;
            let verdict = verdict(&ledger, template);
            let What::Seen(_, pod) = &step.1 else { unreachable!() };
            let over = pod.status.phase.is_terminal() || step_is_last(&step);
            let own = pod.status_of("base").is_some_and(|s| s.state.terminated.is_some());
            let unbound = pod.is_terminating() && pod.spec.node_name.is_none();
            ended |= over || own || unbound;
            assert_eq!(verdict.is_some(), ended, "{name} at {now}");
            if ledger.situation(now, template) == Situation::Ended {
                // Until the kubelet has written the phase, other containers may run on.
                let said = said(verdict.as_ref());
                assert_eq!(
                    said.trim_end_matches(" may run on"),
                    expected(name, all).trim_end_matches(" may run on"),
                    "{name} at {now}"
                );
            }
        }
    });
}

fn step_is_last((_, what): &(Time, What)) -> bool {
    matches!(what, What::Seen(Sight::Deleted, _))
}

/// The watch is cut after each sight; what comes then is missed but the last state, which a relist or the watch's end shows.
#[test]
fn a_watch_cut_anywhere_never_takes_a_started_program_for_never_started() {
    each(|name, recording, template, all| {
        let sights = sights(recording);
        let (last, what) = sights.last().unwrap().clone();
        for cut in 0..sights.len() - 1 {
            let mut ledger = replay(&sights[..=cut]);
            ledger.gap(last);
            ledger.covered(last, false);
            take(&mut ledger, &(last, what.clone()));
            let verdict = verdict(&ledger, template);
            check_cut(name, all, cut, verdict.as_ref());
        }
    });
}

fn check_cut(name: &str, all: bool, cut: usize, verdict: Option<&Verdict>) {
    let whole = expected(name, all);
    let said = said(verdict);
    // A rejection says nothing of what was there before: with a gap it is no proof any more.
    let known = said == whole
        || (name == "rejected_outofcpu" && said == "disrupted/rejected/unknown rejected may run on")
        // How the end and the deletion request came one after the other was not seen.
        || (name == "succeeded_then_deleted" && said == "succeeded succeededWhileTerminating exit 0");
    assert!(known, "{name}, all containers: {all}, cut after {cut}: {said}, not {whole}");
}

/// Only the final state is seen: the observer came late.
#[test]
fn the_last_state_alone_is_no_proof_against_what_ran() {
    each(|name, recording, template, all| {
        let sights = sights(recording);
        let ledger = replay(sights.last());
        check_cut(name, all, 0, verdict(&ledger, template).as_ref());
    });
}

/// It vanished while the watch was cut: a read finds nothing.
#[test]
fn what_vanished_unobserved_is_never_never() {
    each(|name, recording, template, all| {
        let sights = sights(recording);
        for cut in 0..sights.len() {
            let mut ledger = replay(&sights[..cut]);
            let ran = ledger.started(template).next().is_some();
            let alive = verdict(&ledger, template).is_none();
            ledger.gap(Time(i64::MAX));
            ledger.gone(Time(i64::MAX), kpo_core::Absence::Unobserved);
            let Class::Disrupted { started, .. } = verdict(&ledger, template).unwrap().class else { continue };
            if alive {
                let expected = if ran { Started::Started } else { Started::Unknown };
                assert_eq!(started, expected, "{name}, all containers: {all}, vanished after {cut}");
            }
        }
    });
}

#[test]
fn the_preemptor_is_named_once_the_events_are_told() {
    let template = template(false);
    let all = recording("preempted_before_start");
    let mut ledger = replay(&sights(&all));
    let before = verdict(&ledger, &template).unwrap();
    assert_eq!(before.detail.as_deref(), Some("default-scheduler: preempting to accommodate a higher priority pod"));
    for step in all.iter().filter(|(_, what)| matches!(what, What::Told(_))) {
        take(&mut ledger, step);
    }
    let after = verdict(&ledger, &template).unwrap();
    assert_eq!(after.detail.as_deref(), Some("preempted by pod rec-preempted-before-start/preemptor on node node-1"));
    assert_eq!((after.class, after.proof), (before.class, Some(Proof::KubeletAttested)));
}

#[test]
fn a_disruption_is_known_before_its_end() {
    let expected = BTreeMap::from([
        ("preempted_before_start", Reason::Preempted),
        ("preempted_while_running", Reason::Preempted),
        ("evicted_by_api", Reason::Evicted),
        ("taint_evicted_while_running", Reason::TaintEvicted),
    ]);
    for (name, reason) in expected {
        let mut ledger = Ledger::default();
        let mut known = None;
        for step in sights(&recording(name)) {
            take(&mut ledger, &step);
            known = known.or_else(|| classify::disrupting(&ledger));
        }
        assert_eq!(known.map(|(reason, _)| reason), Some(reason), "{name}");
        assert_eq!(classify::disrupting(&ledger), None, "{name} has ended");
    }
}

#[test]
fn waits_are_named() {
    let template = template(false);
    for (name, waits, hindrance) in [
        ("image_pull_error", "base: ImagePullBackOff", Reason::Image),
        ("create_container_config_error", "base: CreateContainerConfigError", Reason::Config),
    ] {
        let recording = recording(name);
        let ledger = replay(&recording);
        let situation = ledger.situation(recording.last().unwrap().0, &template);
        let Situation::Starting { node, waiting, hindrance: found, fatal, .. } = situation else {
            panic!("{name}: {situation:?}")
        };
        assert_eq!((node.as_str(), waiting.as_deref(), found, fatal), ("node-1", Some(waits), Some(hindrance), None));
    }
}

#[test]
fn a_silent_node_is_a_state_of_its_own() {
    let template = template(false);
    let mut ledger = Ledger::default();
    let mut silent = Vec::new();
    for step in sights(&recording("unreachable_then_back")) {
        take(&mut ledger, &step);
        let situation = ledger.situation(step.0, &template);
        if let Situation::Terminating { unreachable_since: Some(since), .. } = situation {
            silent.push((step.0.to_string(), since.to_string()));
        }
    }
    let since = "1970-01-01T00:00:49.197Z".to_owned();
    assert_eq!(silent, [("1970-01-01T00:00:54.317Z".to_owned(), since)]);
}

/// Memory of a waiting task's ledger, as its serialised length.
#[test]
fn a_ledger_stays_small() {
    each(|name, recording, _, _| {
        let ledger = replay(recording);
        let bytes = serde_json::to_vec(&ledger).unwrap().len();
        assert!(bytes < 8192, "{name}: {bytes} bytes");
        assert_eq!(serde_json::from_slice::<Ledger>(&serde_json::to_vec(&ledger).unwrap()).unwrap(), ledger, "{name}");
    });
}
