//! What kpo would have done with a pod that was not its own.

use crate::case::{self, PodCase};
use crate::{records, render};
use kpo_core::spec::ExitZeroAfterTerm;
use kpo_core::task::forbidden_by_default;
use kpo_core::{Absence, Class, NoRerun, Started, classify};

/// What became of such a pod, and what kpo would have done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// Whether it was taken away. What failed by itself is nobody's to run again.
    pub is_lost: bool,
    /// Whether kpo would have run it again by default, by what is known of it. Who only reads a pod now and then knows less than who watches it.
    pub would_rerun: bool,
    /// One line: what became of it, what kpo would have done, and why.
    pub line: String,
}

/// Judges a pod by sights of it and its events, in any form that `kpo why -f` reads: the first pod in it.
///
/// # Arguments
/// * `container` - the task's own.
/// * `gone` - whether the pod was not found after the last sight.
///
/// # Errors
/// Why that cannot be read.
pub fn audit(recording: &str, container: &str, gone: bool) -> Result<Audited, String> {
    let records = records::read(recording).map_err(|error| error.to_string())?.records;
    let mut case = case::find(&records, None, Some(container)).ok_or("it shows no pod")?;
    if gone {
        case.ledger.gone(case.until, Absence::Unobserved);
        case.verdict = classify::judge(&case.ledger, &case.template, ExitZeroAfterTerm::Success);
    }
    Ok(judged(&case, container))
}

fn judged(case: &PodCase, container: &str) -> Audited {
    let known = render::Known { container, ..render::Known::default() };
    let mut outcome = case.outcome();
    outcome.message = format!("pod {} is not over, as far as is known", case.pod.metadata.name);
    let line = render::ending(&outcome, known).line;
    let lost = case.verdict.as_ref().filter(|verdict| matches!(verdict.class, Class::Disrupted { .. }));
    let Some(verdict) = lost else { return Audited { is_lost: false, would_rerun: false, line } };
    let why = forbidden_by_default(verdict);
    let Class::Disrupted { started, .. } = verdict.class else { unreachable!("it is lost") };
    Audited { is_lost: true, would_rerun: why.is_none(), line: format!("{line} {}", deed(why, started)) }
}

/// What would have been done, and why.
fn deed(why: Option<NoRerun>, started: Started) -> &'static str {
    match (why, started) {
        (None, _) => "kpo would have run it again: there is proof that nothing of it ran.",
        (Some(NoRerun::UnsignedDelete), _) => {
            "kpo would have ended the task, too: nobody signed the deletion (on_unsigned_delete=\"recreate\" takes it for a disruption)."
        }
        (Some(_), Started::Unknown) => {
            "kpo, which watches its pods, would have known whether it ran: if not, it would have run it again; else only with rerun=\"idempotent\" or \"until-commit\"."
        }
        (Some(_), _) => {
            "kpo would have ended the task, too: its program ran (rerun=\"idempotent\" or \"until-commit\" permits another run)."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(status: &Value) -> Value {
        let meta =
            json!({"name": "task", "namespace": "default", "uid": "u", "creationTimestamp": "2026-11-23T22:10:07Z"});
        let spec = json!({"nodeName": "node-1", "containers": [{"name": "base"}]});
        json!({"kind": "Pod", "metadata": meta, "spec": spec, "status": status})
    }

    /// One on its way out, whose own container ended so.
    fn taken_away(end: &Value) -> Value {
        let own = json!([{"name": "base", "state": {"terminated": end}}]);
        let mut pod = pod(&json!({"phase": "Failed", "conditions": preempted(), "containerStatuses": own}));
        let meta = &mut pod["metadata"];
        meta["deletionTimestamp"] = json!("2026-11-23T22:10:38Z");
        meta["deletionGracePeriodSeconds"] = json!(30);
        meta["managedFields"] = json!([{"manager": "kubelet", "operation": "Update", "subresource": "status",
            "time": "2026-11-23T22:10:10Z", "fieldsV1": {"f:status": {"f:phase": {}}}}]);
        pod
    }

    fn event(reason: &str, message: &str) -> Value {
        let about = json!({"kind": "Pod", "name": "task", "namespace": "default", "uid": "u"});
        let source = json!({"component": "default-scheduler"});
        json!({"kind": "Event", "involvedObject": about, "reason": reason, "message": message, "source": source,
            "reportingComponent": "default-scheduler", "eventTime": "2026-11-23T22:10:09.000000Z"})
    }

    fn preempted() -> Value {
        let condition = json!({"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": "default-scheduler: preempting to accommodate a higher priority pod"});
        json!([condition])
    }

    fn audited(seen: &[Value], gone: bool) -> Audited {
        let text: Vec<String> = seen.iter().map(Value::to_string).collect();
        audit(&text.join("\n"), "base", gone).unwrap()
    }

    #[test]
    fn a_pod_that_vanished_after_its_preemption_may_have_run() {
        let told = event("Preempted", "Preempted by pod 6f on node node-1");
        let found = audited(&[pod(&json!({"phase": "Pending"})), told], true);
        assert!(found.is_lost && !found.would_rerun, "{found:?}");
        assert!(found.line.contains("preempted") && found.line.contains("would have known"), "{found:?}");
    }

    #[test]
    fn a_pod_that_ran_and_was_preempted_ends_the_task() {
        let end = json!({"exitCode": 137, "startedAt": "2026-11-23T22:10:08Z", "finishedAt": "2026-11-23T22:10:10Z",
            "containerID": "containerd://1"});
        let found = audited(&[taken_away(&end)], false);
        assert!(found.is_lost && !found.would_rerun, "{found:?}");
        assert!(found.line.contains("its program ran"), "{found:?}");
    }

    #[test]
    fn a_pod_whose_kubelet_says_that_it_never_ran_runs_again() {
        let end = json!({"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": null});
        let found = audited(&[pod(&json!({"phase": "Pending"})), taken_away(&end)], true);
        assert!(found.is_lost && found.would_rerun, "{found:?}");
        assert!(found.line.ends_with("there is proof that nothing of it ran."), "{found:?}");
    }

    #[test]
    fn what_failed_by_itself_is_not_lost() {
        let own = json!([{"name": "base", "state": {"terminated": {"exitCode": 3, "containerID": "containerd://1"}}}]);
        let found = audited(&[pod(&json!({"phase": "Failed", "containerStatuses": own}))], false);
        assert!(!found.is_lost && !found.would_rerun, "{found:?}");
        assert!(found.line.starts_with("failed: the program exited 3"), "{found:?}");
    }

    #[test]
    fn what_is_no_recording_is_said() {
        assert_eq!(audit("", "base", false), Err("it is empty".to_owned()));
        assert_eq!(audit(&event("Preempted", "").to_string(), "base", true), Err("it shows no pod".to_owned()));
    }
}
