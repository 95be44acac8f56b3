//! What to do next: from the verdict, the task's policies, and why no other attempt followed.

use super::end::Known;
use super::quota;
use super::words::{program, sentence, unquoted};
use kpo_core::{AttemptRecord, Cause, Class, NoRerun, OnUnsignedDelete, Reason, Rerun, RerunPolicy, Started, Verdict};

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

    /// Whether it is a part of the node, before which tasks give way: a DaemonSet's pod, or one of the system's classes. `None`: not known.
    fn comes_first(&self) -> Option<bool> {
        /// `HighestUserDefinablePriority` (kubernetes pkg/apis/scheduling/types.go).
        const HIGHEST_OF_USERS: i64 = 1_000_000_000;
        if self.owner.is_none() && self.priority.is_none() {
            return None;
        }
        let is_daemon = self.owner.as_ref().is_some_and(|owner| owner.starts_with("DaemonSet "));
        Some(is_daemon || self.priority.is_some_and(|priority| priority > HIGHEST_OF_USERS))
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

/// Whether so many steps are all against the cause, so that it does not come again, and none about another attempt.
pub(super) fn prevents(verdict: &Verdict, steps: usize) -> bool {
    let Class::Disrupted { cause, .. } = verdict.class else { return false };
    let against = matches!(
        cause,
        Cause::Preemption
            | Cause::CriticalPod
            | Cause::Eviction
            | Cause::Taint
            | Cause::NodePressure
            | Cause::NodeShutdown
            | Cause::Rejected
    );
    against && steps == 1
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
        NoRerun::UnsignedDelete => format!("Not run again: somebody wanted it gone. {}", recreating(started, &rerun)),
        NoRerun::Stopped => "Not run again: a stop was asked for.".to_owned(),
        NoRerun::Deadline => {
            "Not run again: its total time is used up (--timeout, or the Job's activeDeadlineSeconds).".to_owned()
        }
        NoRerun::NoManifest => {
            let (task, again) = (known.spec.map_or("TASK", |spec| &spec.task), known.again);
            let take_over = format!("{} attach {task} --take-over -f FILE{again}", program());
            format!(
                "Not run again: its manifest as it was submitted is not known here. As long as its pod is there: {take_over}"
            )
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
            Some(recreating(started, &spec.rerun))
        }
        _ if forbids && started != Started::Never => Some("If it may run twice: --rerun=idempotent.".to_owned()),
        _ => None,
    }
}

/// After a deletion that nobody signed. Of what had started, or may have, the rerun policy decides too.
fn recreating(started: Started, rerun: &Rerun) -> String {
    let forbids = matches!(rerun.policy, RerunPolicy::Never | RerunPolicy::IfNotStarted);
    let both = match (started, rerun.policy) {
        (Started::Never, RerunPolicy::Never) => " --rerun=if-not-started",
        (Started::Started | Started::Unknown, _) if forbids => {
            " --rerun=idempotent (both: its program may have run, and may then run twice)"
        }
        _ => "",
    };
    format!("If that was no wish to end the task: --on-unsigned-delete=recreate{both}.")
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
            format!("Not run again, since it may have had effects (it is under --rerun={flag}). {twice} {marks} {more}")
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
        Reason::Evicted if is_task => Some(against_eviction(known)),
        Reason::TaintEvicted => attempt.pod.node.as_ref().map(|node| {
            format!("To stay on such a node it needs a toleration for the node's taint with effect NoExecute: kubectl describe node {node}")
        }),
        Reason::QuotaExceeded => Some(match verdict.detail.as_deref().and_then(quota::beyond) {
            Some(over) => format!("It can never fit ({over}): ask for less, or raise the ResourceQuota."),
            None => {
                "Wait for other pods to end, longer with --queue-timeout; or ask for less, or raise the ResourceQuota."
                    .to_owned()
            }
        }),
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

/// Autoscalers take away what they were not asked to leave alone.
fn against_eviction(known: Known<'_>) -> String {
    let drain = "a drain by hand needs a time without tasks.";
    match known.spec.map(|spec| spec.rerun.policy) {
        Some(RerunPolicy::Idempotent) => {
            format!("With --rerun=idempotent autoscalers may move it, unless --disturb=deny is given; {drain}")
        }
        _ => format!("Autoscalers are asked to leave it alone, unless --disturb=allow is given; {drain}"),
    }
}

/// Against a preemption: on a fresh node it is a DaemonSet's, and comes before anything ran. Nobody can outrank those, nor should.
fn outrank(verdict: &Verdict, known: Known<'_>) -> String {
    let preemptor = known.preemptor.cloned().or_else(|| Preemptor::of(verdict)).unwrap_or_default();
    let by =
        if preemptor.pod.is_empty() { "the preemptor's".to_owned() } else { format!("that of {}", preemptor.named()) };
    let class = format!("a PriorityClass that is not below {by}");
    let room = "leave room for DaemonSets on fresh nodes (startup taints, the autoscaler's overhead)";
    let help = format!("{} help preemption", program());
    let is_early = matches!(verdict.class, Class::Disrupted { started: Started::Never, .. });
    match preemptor.comes_first() {
        Some(true) if is_early && known.spec.is_some() && known.why.is_none() => {
            format!("Nothing needs to be done where it is run again by itself. To spare the wait, {room}: {help}")
        }
        Some(true) => format!("To keep it from coming again, {room}: {help}"),
        None if is_early => format!("If that is a DaemonSet's, {room}; else give it {class}: {help}"),
        _ => format!("Give it {class}: {help}"),
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
