//! What holds for every history of a pod and every way of watching it.

use kpo_core::spec::ExitZeroAfterTerm;
use kpo_core::{Absence, Class, ClusterEvent, Ledger, Pod, Sight, Started, Template, Time, Verdict, classify};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use std::path::PathBuf;

fn template() -> Template {
    Template {
        container: "base".into(),
        counted: vec!["base".into()],
        grace_seconds: 30,
        active_deadline_seconds: None,
        names_its_node: false,
    }
}

fn verdict(ledger: &Ledger) -> Option<Verdict> {
    classify::judge(ledger, &template(), ExitZeroAfterTerm::Success)
}

fn says_never(ledger: &Ledger) -> bool {
    matches!(verdict(ledger).map(|v| v.class), Some(Class::Disrupted { started: Started::Never, .. }))
}

// --- histories as a cluster makes them ---------------------------------------------------------------------------------------------

/// How far the program came.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Life {
    /// It never ran.
    Never,
    /// It ran, and the kubelet said so.
    Ran,
    /// It ran and ended by itself.
    Ended(i32),
}

/// How the pod ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// The kubelet writes the phase with the containers' states.
    Killed,
    /// The runtime's record is lost: `ContainerStatusUnknown`, with what the kubelet still knew.
    RecordLost,
    /// A restarted kubelet refuses it: a fresh status.
    Refused,
    /// An old kubelet's shutdown: a fresh status.
    Shutdown,
    /// PodGC writes the phase over the old statuses.
    Collected,
    /// Nobody writes a phase: forced deletion.
    Forced,
}

#[derive(Clone, Debug)]
struct History {
    life: Life,
    end: End,
    /// Names of the kubelet and of the controllers: the same in a single binary.
    managers: (&'static str, &'static str),
    disruption: Option<&'static str>,
    deleted: bool,
    sidecar: bool,
}

fn histories() -> impl Strategy<Value = History> {
    let life = prop_oneof![Just(Life::Never), Just(Life::Ran), (1..4).prop_map(Life::Ended), Just(Life::Ended(143))];
    let end = select(vec![End::Killed, End::RecordLost, End::Refused, End::Shutdown, End::Collected, End::Forced]);
    let managers = select(vec![("kubelet", "kube-controller-manager"), ("k3s", "k3s"), ("kubelite", "kubelite")]);
    let disruption = proptest::option::of(select(vec!["PreemptionByScheduler", "EvictionByEvictionAPI"]));
    (life, end, managers, disruption, any::<bool>(), any::<bool>()).prop_map(
        |(life, end, managers, disruption, deleted, sidecar)| {
            let deleted = deleted || disruption.is_some() || matches!(end, End::Collected | End::Forced);
            History { life, end, managers, disruption, deleted, sidecar }
        },
    )
}

/// Those in which nothing ran, and a kubelet said so.
fn attested() -> impl Strategy<Value = History> {
    let ends = |history: &History| match history.end {
        End::Killed | End::RecordLost | End::Refused => true,
        End::Shutdown => history.managers.0 == "kubelet",
        End::Collected | End::Forced => false,
    };
    histories().prop_map(|history| History { life: Life::Never, ..history }).prop_filter("a kubelet wrote it", ends)
}

impl History {
    /// All versions of the object, in order; the last is the one that DELETED carries.
    fn versions(&self) -> Vec<Pod> {
        let mut pod = json!({"metadata": {"name": "task", "uid": "u1"}, "status": {"phase": "Pending"},
            "spec": {"containers": [{"name": "base"}], "restartPolicy": "Never"}});
        let mut versions = vec![pod.clone()];
        pod["spec"]["nodeName"] = "node-1".into();
        versions.push(pod.clone());
        pod["status"]["startTime"] = "2026-11-23T22:00:00Z".into();
        pod["status"]["containerStatuses"] =
            json!([status(json!({"waiting": {"reason": "ContainerCreating"}}), false)]);
        self.beside(&mut pod, json!({"waiting": {"reason": "PodInitializing"}}), false);
        versions.push(pod.clone());
        self.live(&mut pod, &mut versions);
        self.mark(&mut pod, &mut versions);
        self.finish(&mut pod, &mut versions);
        if self.deleted {
            pod["metadata"]["deletionTimestamp"] = "2026-11-23T22:10:00Z".into();
            pod["metadata"]["deletionGracePeriodSeconds"] = 0.into();
            versions.push(pod.clone());
        }
        let numbered = (100..).zip(versions).map(|(version, mut pod)| {
            pod["metadata"]["resourceVersion"] = format!("{version}").into();
            serde_json::from_value(pod).unwrap()
        });
        numbered.collect()
    }

    /// kpo's own sidecar, which does not count.
    fn beside(&self, pod: &mut Value, state: Value, id: bool) {
        if self.sidecar {
            let mut status = status(state, id);
            status["name"] = "kpo-result".into();
            pod["status"]["initContainerStatuses"] = json!([status]);
            pod["spec"]["initContainers"] = json!([{"name": "kpo-result", "restartPolicy": "Always"}]);
        }
    }

    fn live(&self, pod: &mut Value, versions: &mut Vec<Value>) {
        self.beside(pod, json!({"running": {"startedAt": "2026-11-23T22:00:01Z"}}), true);
        versions.push(pod.clone());
        if self.life == Life::Never {
            return;
        }
        pod["status"]["containerStatuses"] =
            json!([status(json!({"running": {"startedAt": "2026-11-23T22:00:02Z"}}), true)]);
        self.phase(pod, "Running", self.managers.0);
        versions.push(pod.clone());
        if let Life::Ended(code) = self.life {
            pod["status"]["containerStatuses"] = json!([status(ended(code), true)]);
            versions.push(pod.clone());
        }
    }

    fn mark(&self, pod: &mut Value, versions: &mut Vec<Value>) {
        if let Some(reason) = self.disruption {
            pod["status"]["conditions"] = json!([{"type": "DisruptionTarget", "status": "True", "reason": reason}]);
            versions.push(pod.clone());
        }
        if self.deleted && self.end != End::Forced {
            pod["metadata"]["deletionTimestamp"] = "2026-11-23T22:10:30Z".into();
            pod["metadata"]["deletionGracePeriodSeconds"] = 30.into();
            versions.push(pod.clone());
        }
    }

    fn finish(&self, pod: &mut Value, versions: &mut Vec<Value>) {
        match self.end {
            End::Forced => return,
            End::Killed | End::RecordLost => self.killed(pod),
            End::Refused => self.fresh(pod, "OutOfcpu", "Pod was rejected: Node didn't have enough resource: cpu"),
            End::Shutdown => self.fresh(pod, "Shutdown", "Node is shutting, evicting pods"),
            End::Collected => self.phase(pod, "Failed", self.managers.1),
        }
        versions.push(pod.clone());
    }

    fn killed(&self, pod: &mut Value) {
        let unlocated = json!({"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown"}});
        let base = match (self.life, self.end) {
            (Life::Never, _) => status(unlocated, false),
            (Life::Ended(code), End::Killed) => status(ended(code), true),
            (_, End::Killed) => status(ended(137), true),
            _ => {
                let mut lost = status(unlocated.clone(), false);
                lost["restartCount"] = 1.into();
                lost["lastState"] = unlocated;
                lost
            }
        };
        pod["status"]["containerStatuses"] = json!([base]);
        self.beside(pod, ended(0), true);
        self.phase(pod, "Failed", self.managers.0);
    }

    fn fresh(&self, pod: &mut Value, reason: &str, message: &str) {
        pod["status"] = json!({"reason": reason, "message": message});
        self.phase(pod, "Failed", self.managers.0);
    }

    fn phase(&self, pod: &mut Value, phase: &str, manager: &str) {
        pod["status"]["phase"] = phase.into();
        pod["metadata"]["managedFields"] =
            json!([{"manager": manager, "subresource": "status", "fieldsV1": {"f:status": {"f:phase": {}}}}]);
    }
}

fn status(state: Value, id: bool) -> Value {
    let mut status = json!({"name": "base", "restartCount": 0, "state": state});
    if id {
        status["containerID"] = "containerd://1".into();
    }
    status
}

fn ended(code: i32) -> Value {
    json!({"terminated": {"exitCode": code, "reason": "Error", "startedAt": "2026-11-23T22:00:02Z", "containerID": "containerd://1"}})
}

/// Watches a history: late, with gaps that it knows of, and to the end or not. What a gap hides is missed; a relist shows the next version.
fn watch(versions: &[Pod], deleted: bool, late: usize, missed: &[bool], to_the_end: bool) -> Ledger {
    let (mut ledger, last) = (Ledger::default(), versions.len() - 1);
    let mut blind = false;
    for (index, pod) in versions.iter().enumerate().skip(late.min(last)) {
        let now = Time::from_secs(i64::try_from(index).unwrap());
        if missed.get(index).copied().unwrap_or(false) && index < last {
            ledger.gap(now);
            blind = true;
            continue;
        }
        if index == last && !to_the_end {
            ledger.gap(now);
            ledger.gone(now, Absence::Unobserved);
            break;
        }
        if blind {
            ledger.covered(now, false);
            blind = false;
        }
        let sight = if index == last && deleted { Sight::Deleted } else { Sight::Present };
        ledger.observe(now, sight, pod);
    }
    ledger
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// The rule that everything rests on.
    #[test]
    fn what_ran_is_never_taken_for_never_started(
        history in histories(), late in 0usize..10, missed in prop::collection::vec(any::<bool>(), 10), whole in any::<bool>(), to_the_end in any::<bool>(),
    ) {
        let versions = history.versions();
        let missed = if whole { Vec::new() } else { missed };
        let ledger = watch(&versions, history.deleted, late, &missed, to_the_end);
        if history.life != Life::Never {
            prop_assert!(!says_never(&ledger), "{history:?}\n{:#?}", ledger.entries);
        }
    }

    /// And it is of use: what did not run and was watched is proven.
    #[test]
    fn what_did_not_run_and_was_watched_to_its_end_is_proven(history in attested()) {
        let ledger = watch(&history.versions(), history.deleted, 0, &[], true);
        prop_assert!(says_never(&ledger), "{history:?}\n{:?}\n{:#?}", verdict(&ledger), ledger.entries);
        prop_assert!(verdict(&ledger).unwrap().proof.is_some());
    }

    /// A verdict comes with what it rests on, and survives a snapshot at any point.
    #[test]
    fn a_verdict_cites_entries_and_survives_a_snapshot(
        history in histories(), late in 0usize..10, missed in prop::collection::vec(any::<bool>(), 10), cut in any::<Index>(),
    ) {
        let versions = history.versions();
        let ledger = watch(&versions, history.deleted, late, &missed, true);
        let text = serde_json::to_string(&ledger).unwrap();
        prop_assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger.clone());
        if let Some(verdict) = verdict(&ledger) {
            prop_assert!(!verdict.evidence.is_empty());
            prop_assert!(verdict.evidence.iter().all(|entry| ledger.fact(*entry).is_some()));
            prop_assert_eq!(verdict.proof.is_some(), matches!(verdict.class, Class::Disrupted { started: Started::Never, .. }));
            let json = serde_json::to_string(&verdict).unwrap();
            prop_assert_eq!(serde_json::from_str::<Verdict>(&json).unwrap(), verdict);
        }
        let cut = cut.index(versions.len());
        let half = watch(&versions[..=cut], false, 0, &[], true);
        let mut resumed: Ledger = serde_json::from_str(&serde_json::to_string(&half).unwrap()).unwrap();
        let mut whole = half;
        for pod in &versions[cut..] {
            whole.observe(Time(9), Sight::Present, pod);
            resumed.observe(Time(9), Sight::Present, pod);
        }
        prop_assert_eq!(resumed, whole);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing makes it forget a sign of life, the deletion, the first terminal phase or the end; nothing makes it grow for ever.
    #[test]
    fn a_ledger_is_bounded_and_forgets_nothing_vital(history in histories(), noise in prop::collection::vec((0u32..4, any::<u32>()), 600)) {
        let versions = history.versions();
        let mut ledger = watch(&versions[..3], false, 0, &[], true);
        for (at, (kind, salt)) in noise.into_iter().enumerate() {
            make_noise(&mut ledger, &versions[2], Time::from_secs(100 + i64::try_from(at).unwrap()), kind, salt);
        }
        for (index, pod) in versions.iter().enumerate().skip(3) {
            let sight = if index == versions.len() - 1 && history.deleted { Sight::Deleted } else { Sight::Present };
            let mut pod = pod.clone();
            pod.metadata.resource_version = String::new();
            ledger.observe(Time::from_secs(9000), sight, &pod);
        }
        prop_assert!(ledger.entries.len() <= 256, "{} entries", ledger.entries.len());
        prop_assert_eq!(ledger.ran.contains_key("base"), history.life != Life::Never);
        prop_assert_eq!(ledger.deletion().is_some(), history.deleted);
        prop_assert_eq!(ledger.terminal.is_some(), history.end != End::Forced);
        prop_assert_eq!(ledger.gone, history.deleted.then_some(Absence::Observed));
        let size = serde_json::to_vec(&ledger).unwrap().len();
        prop_assert!(size < 192 * 1024, "{size} bytes");
    }
}

fn make_noise(ledger: &mut Ledger, pod: &Pod, now: Time, kind: u32, salt: u32) {
    let mut pod = pod.clone();
    pod.metadata.resource_version = String::new();
    let text = format!("{salt} {}", "x".repeat(1000));
    match kind {
        0 => {
            let waiting = pod.status.container_statuses[0].state.waiting.as_mut().unwrap();
            waiting.reason = Some(format!("Reason{salt}"));
            waiting.message = Some(text);
            ledger.observe(now, Sight::Present, &pod);
        }
        1 => {
            let event =
                json!({"type": "Warning", "reason": "FailedMount", "message": text, "involvedObject": {"uid": "u1"}});
            ledger.told(now, &serde_json::from_value::<ClusterEvent>(event).unwrap());
        }
        2 => {
            let event = json!({"reason": "Preempted", "message": text, "involvedObject": {"uid": "u1"}});
            ledger.told(now, &serde_json::from_value::<ClusterEvent>(event).unwrap());
        }
        _ => {
            ledger.gap(now);
            ledger.covered(now, salt.is_multiple_of(2));
        }
    }
}

// --- the recordings, in any order --------------------------------------------------------------------------------------------------

/// Recordings of programs that ran.
const RAN: [&str; 12] = [
    "critical_pod_preempts",
    "deadline_exceeded",
    "deleted_while_running",
    "evicted_by_api",
    "failed_exit_3",
    "kubelet_restarted_while_running",
    "node_deleted",
    "oom_killed",
    "preempted_while_running",
    "run_container_error",
    "taint_evicted_while_running",
    "unreachable_then_back",
];

fn sights(name: &str) -> Vec<(Sight, Pod)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/recordings/{name}.jsonl"));
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_task = lines.filter(|line| line["kind"] == "Pod" && line["object"]["metadata"]["name"] == "task");
    of_task
        .map(|line| {
            let sight = if line["type"] == "DELETED" { Sight::Deleted } else { Sight::Present };
            (sight, serde_json::from_value(line["object"].clone()).unwrap())
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_and_no_part_of_what_was_recorded_of_a_started_program_says_never(
        name in select(RAN.to_vec()), order in any::<[u64; 16]>(), keep in any::<u16>(), gaps in any::<u16>(),
    ) {
        let mut sights: Vec<_> = sights(name).into_iter().zip(order).enumerate().collect();
        sights.retain(|(index, _)| keep & (1 << (index % 16)) != 0);
        sights.sort_by_key(|(_, (_, order))| *order);
        let mut ledger = Ledger::default();
        for (at, (index, ((sight, pod), _))) in sights.into_iter().enumerate() {
            let now = Time::from_secs(i64::try_from(at).unwrap());
            if gaps & (1 << (index % 16)) != 0 {
                ledger.gap(now);
                ledger.covered(now, gaps % 2 == 0);
            }
            ledger.observe(now, sight, &pod);
            prop_assert!(!says_never(&ledger), "{name}\n{:#?}", ledger.entries);
        }
        ledger.gone(Time::from_secs(99), Absence::Unobserved);
        prop_assert!(!says_never(&ledger), "{name}, gone");
    }
}
