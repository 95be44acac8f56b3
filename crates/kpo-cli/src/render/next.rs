//! What to do next: from the verdict, the task's policies, and why no other attempt followed.

use super::end::Known;
use super::words::{program, sentence, unquoted};
use kpo_core::{AttemptRecord, Cause, Class, NoRerun, OnUnsignedDelete, Reason, RerunPolicy, Started, Verdict};

/// Where the logs of the attempt are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Log {
    /// They were shown.
    Shown,
    /// The pod is there, and can be asked for them.
    There,
    /// Nobody can be asked any more.
    #[default]
    Gone,
}

/// Who took the pod's place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preemptor {
    /// `kube-system/node-agent-x7k2p`.
    pub(crate) pod: String,
    /// `DaemonSet kube-system/node-agent`. `None`: it has no owner, or cannot be looked at.
    pub(crate) owner: Option<String>,
    /// Its priority. `None`: it cannot be looked at.
    pub(crate) priority: Option<i64>,
}

impl Preemptor {
    /// As the scheduler's event names it. `None`: the verdict's words name nobody.
    pub(crate) fn of(verdict: &Verdict) -> Option<Self> {
        let words = verdict.detail.as_deref().filter(|_| verdict.reason == Reason::Preempted)?;
        let (pod, _) = words.strip_prefix("preempted by pod ")?.split_once(" on node ")?;
        Some(Self { pod: pod.to_owned(), ..Self::default() })
    }

    /// `DaemonSet kube-system/node-agent (priority 2000001000)`.
    pub(super) fn named(&self) -> String {
        let name = self.owner.clone().unwrap_or_else(|| format!("pod {}", self.pod));
        self.priority.map_or(name.clone(), |priority| format!("{name} (priority {priority})"))
    }
}

/// The next steps, each a sentence or more. None: there is nothing to do.
pub(super) fn steps(verdict: &Verdict, attempt: &AttemptRecord, known: Known<'_>) -> Vec<String> {
    let again = match verdict.class {
        Class::Disrupted { cause, started } => match known.why {
            Some(why) => Some(no_rerun(why, cause, started, known)),
            None => allowing(cause, started, known),
        },
        _ => known.why.filter(|why| *why == NoRerun::Budget).map(|_| retries_used(known)),
    };
    again.into_iter().chain(remedy(verdict, attempt, known)).collect()
}

// --- another attempt --------------------------------------------------------------------------------------------------------------

/// Why no other attempt follows a disruption, and which flag would change that.
fn no_rerun(why: NoRerun, cause: Cause, started: Started, known: Known<'_>) -> String {
    let rerun = known.spec.map(|spec| spec.rerun).unwrap_or_default();
    match why {
        NoRerun::Policy if cause == Cause::Unreachable => replacement(known),
        NoRerun::Policy => forbidden(rerun.policy, started),
        NoRerun::Budget if started == Started::Never => {
            format!("Not run again: its reruns are used up (--rerun-never-started={}).", rerun.never_started)
        }
        NoRerun::Budget => format!("Not run again: its reruns are used up (--rerun-started={}).", rerun.started),
        NoRerun::Committed => "Not run again: the program had passed its point of no return.".to_owned(),
        NoRerun::UnsignedDelete => {
            "Not run again: somebody wanted it gone. If that was no wish to end the task: --on-unsigned-delete=recreate."
                .to_owned()
        }
        NoRerun::Stopped => "Not run again: a stop was asked for.".to_owned(),
        NoRerun::Deadline => "Not run again: its total time is used up (--timeout).".to_owned(),
        NoRerun::NoManifest => {
            let (task, again) = (known.spec.map_or("TASK", |spec| &spec.task), known.again);
            let take_over = format!("{} attach {task} --take-over -f FILE{again}", program());
            format!("Not run again: its manifest as it was submitted is not known here. As long as its pod is there: {take_over}")
        }
        NoRerun::Over => "It had ended before; its pod was kept.".to_owned(),
        NoRerun::Follower => {
            let (task, again) = (known.spec.map_or("TASK", |spec| &spec.task), known.again);
            let take_over = format!("{} attach {task} --take-over{again}", program());
            format!("Not run again from here, where it is only followed. As long as its pod is there: {take_over}")
        }
    }
}

/// Which flag would have it run again after such an end, where it is not known whether it does.
fn allowing(cause: Cause, started: Started, known: Known<'_>) -> Option<String> {
    let spec = known.spec?;
    let forbids = matches!(spec.rerun.policy, RerunPolicy::Never | RerunPolicy::IfNotStarted);
    match cause {
        Cause::DeletedOutside if spec.on_unsigned_delete == OnUnsignedDelete::End => {
            Some("If that was no wish to end the task: --on-unsigned-delete=recreate.".to_owned())
        }
        _ if forbids && started != Started::Never => Some("If it may run twice: --rerun=idempotent.".to_owned()),
        _ => None,
    }
}

/// The policy forbids it.
fn forbidden(policy: RerunPolicy, started: Started) -> String {
    let twice = "If it may run twice: --rerun=idempotent.";
    let marks = "If it marks its point of no return: --rerun=until-commit.";
    let more = format!("({} help rerun)", program());
    match (policy, started) {
        (RerunPolicy::Never, Started::Never) => {
            "Not run again: --rerun=never. As nothing of it ran, --rerun=if-not-started would run it again.".to_owned()
        }
        (RerunPolicy::UntilCommit, _) => {
            format!("Not run again: that it had not passed its point of no return is not attested. {twice} {more}")
        }
        (policy, _) => {
            let flag = if policy == RerunPolicy::Never { "never" } else { "if-not-started" };
            format!("Not run again, since it may have had effects: --rerun={flag}. {twice} {marks} {more}")
        }
    }
}

fn replacement(known: Known<'_>) -> String {
    let text = "Nothing is started beside it";
    match known.spec {
        Some(spec) if spec.rerun.policy == RerunPolicy::Never => format!("{text}: --rerun=never."),
        Some(spec) if spec.replace_unreachable_after.is_some() => format!("{text}."),
        _ => format!("{text}. --replace-unreachable-after=10m would replace it, at the risk that it runs twice."),
    }
}

/// After a failure of the program's own.
fn retries_used(known: Known<'_>) -> String {
    format!("Its retries are used up (--retries={}).", known.spec.map_or(0, |spec| spec.rerun.retries))
}

// --- against the cause ------------------------------------------------------------------------------------------------------------

/// What to do about it.
fn remedy(verdict: &Verdict, attempt: &AttemptRecord, known: Known<'_>) -> Option<String> {
    let (is_task, reason) = (known.spec.is_some(), verdict.reason);
    match reason {
        Reason::Succeeded | Reason::SucceededWhileTerminating | Reason::CancelledByUser => None,
        Reason::ProgramFailed => log_of(known.container, attempt, known).filter(|_| known.log == Log::There),
        Reason::InitFailed => failed_init(attempt).and_then(|init| log_of(init, attempt, known)),
        Reason::Preempted => Some(outrank(verdict, known)),
        Reason::NameTaken => {
            let (pod, namespace) = (&attempt.pod.name, &attempt.pod.namespace);
            Some(format!(
                "Choose another --name, or see whose it is: kubectl get pod {pod} -n {namespace} --show-labels"
            ))
        }
        Reason::Vanished if known.spec.is_some_and(|spec| spec.protect) => None,
        Reason::Rejected => Some("Compare its requests, selectors and tolerations with the node.".to_owned()),
        Reason::DeletedOutside => Some("The audit log of the cluster knows who it was.".to_owned()),
        _ => Some(advice(reason, is_task)),
    }
}

/// What the registry says of it, in terms of kpo's flags only where it is a task's.
pub(super) fn advice(reason: Reason, is_task: bool) -> String {
    foreign(reason).filter(|_| !is_task).map_or_else(|| registered(reason), str::to_owned)
}

/// What the registry says, without what [`no_rerun`] knows better.
pub(crate) fn registered(reason: Reason) -> String {
    const COMPUTED: [&str; 3] = ["may run twice", "--on-unsigned-delete", "--replace-unreachable-after"];
    let text = unquoted(reason.next_step());
    let sentences = text.split_inclusive(". ").filter(|text| !COMPUTED.iter().any(|words| text.contains(words)));
    sentence(&sentences.collect::<String>())
}

/// What the registry says in terms of kpo's flags, for a pod that is not kpo's.
fn foreign(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::DeadlineExceeded => "Raise spec.activeDeadlineSeconds, or make the program faster.",
        Reason::Config => "Create what the message names in the same namespace, or mark the reference optional: true.",
        Reason::Evicted => {
            "Against autoscalers: the annotations karpenter.sh/do-not-disrupt: \"true\" and cluster-autoscaler.kubernetes.io/safe-to-evict: \"false\". A drain by hand needs a time without such pods."
        }
        Reason::Vanished => "Record the next one's end: kubectl get pods -w -o json --output-watch-events",
        _ => return None,
    })
}

/// Against a preemption: on a fresh node it is a DaemonSet's, and comes before anything ran.
fn outrank(verdict: &Verdict, known: Known<'_>) -> String {
    let preemptor = known.preemptor.cloned().or_else(|| Preemptor::of(verdict));
    let by = preemptor.map_or("the preemptor's".to_owned(), |preemptor| format!("that of {}", preemptor.named()));
    let help = format!("{} help preemption", program());
    match verdict.class {
        Class::Disrupted { started: Started::Never, .. } => format!(
            "Give it a PriorityClass that is not below {by}; on fresh nodes, keep it off until the DaemonSets are there, or tell the autoscaler of their overhead: {help}"
        ),
        _ => format!("Give it a PriorityClass that is not below {by}: {help}"),
    }
}

/// How that container's log is read.
fn log_of(container: &str, attempt: &AttemptRecord, known: Known<'_>) -> Option<String> {
    let (pod, namespace) = (&attempt.pod.name, &attempt.pod.namespace);
    match (known.log, known.spec) {
        (Log::Shown, _) => Some(format!("Its log stands above, each line behind [{container}].")),
        (Log::There, Some(spec)) => {
            Some(format!("Read its log: {} logs {} -c {container}{}", program(), spec.task, known.again))
        }
        (Log::There, None) => Some(format!("Read its log: kubectl logs {pod} -c {container} -n {namespace}")),
        (Log::Gone, _) => None,
    }
}

fn failed_init(attempt: &AttemptRecord) -> Option<&str> {
    let statuses = &attempt.last_status.as_ref()?.init_container_statuses;
    let failed = |end: &kpo_core::pod::Terminated| end.exit_code != 0;
    let status = statuses.iter().find(|status| status.state.terminated.as_ref().is_some_and(failed))?;
    Some(&status.name)
}
