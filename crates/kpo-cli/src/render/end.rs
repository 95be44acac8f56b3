//! What became of an attempt or a task, in one line, and what to do.

use super::asked::Asked;
use super::next::{self, Log, Preemptor};
use super::rule;
use super::words::{self, clause, sentence, span};
use crate::printer::Tone;
use kpo_core::{
    AttemptRecord, Cause, Class, Fact, NoRerun, OnFinish, Outcome, Proof, Reason, Spec, Started, Time, Verdict,
};
use std::time::Duration;

/// An end as it is said: the line, and below it what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    /// How it is meant.
    pub(crate) tone: Tone,
    /// Class, cause, exit code, node, attempt.
    pub(crate) line: String,
    /// The next step. Empty: nothing is to be done.
    pub(crate) next: Vec<String>,
}

/// What is known of a task's end beside its outcome.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Known<'a> {
    /// The task's own container.
    pub(crate) container: &'a str,
    /// Why no other attempt followed.
    pub(crate) why: Option<NoRerun>,
    /// The last line that the program printed.
    pub(crate) last_line: Option<&'a str>,
    /// The task. `None`: the pod is no task's, as far as is known.
    pub(crate) spec: Option<&'a Spec>,
    /// The pod as it was asked for.
    pub(crate) asked: Asked<'a>,
    /// The gates that held it last.
    pub(crate) gates: &'a [String],
    /// The container whose start was waited for last.
    pub(crate) waiting: Option<&'a str>,
    /// Where its logs are.
    pub(crate) log: Log,
    /// Who preempted it, where that was looked up.
    pub(crate) preemptor: Option<&'a Preemptor>,
    /// What is appended to a command that goes on with it: ` -n batch --context prod`.
    pub(crate) again: &'a str,
}

/// How a task ended.
pub(crate) fn ending(outcome: &Outcome, known: Known<'_>) -> Ending {
    let ran = outcome.attempts.last().and_then(|attempt| attempt.ran(known.container));
    let Some(attempt) = outcome.attempts.last() else { return without_attempt(outcome) };
    let Some(judged) = &attempt.verdict else { return alive(outcome) };
    if outcome.reason == Some(Reason::ResultMissing) && judged.verdict.class == Class::Succeeded {
        let (what, rule) = rule::explained(&outcome.message);
        let line = sentence(&format!("failed: {what}, {}", place(attempt, ran)));
        let next = if rule.is_empty() { vec![next::registered(Reason::ResultMissing)] } else { rule };
        return Ending { tone: Tone::Bad, line, next };
    }
    let verdict = &judged.verdict;
    let next = next::steps(verdict, attempt, known);
    match &verdict.class {
        Class::Succeeded => succeeded(outcome, attempt, verdict),
        Class::Failed => Ending { tone: Tone::Bad, line: failed(attempt, verdict, ran, known), next },
        Class::LaunchFailed => launch_failed(attempt, verdict, ran, known),
        Class::Disrupted { .. } => Ending { tone: Tone::Bad, line: lost(attempt, verdict, ran), next },
        Class::Cancelled if verdict.reason == Reason::CancelledByUser => cancelled(attempt, verdict, ran, known),
        Class::Cancelled => stopped(attempt, verdict, ran, known),
    }
}

/// The same as one line: the Outcome's message.
pub(crate) fn one_line(outcome: &Outcome, known: Known<'_>) -> String {
    let Ending { line, next, .. } = ending(outcome, known);
    let parts = std::iter::once(line).chain(next);
    parts.map(|part| part.trim().to_owned()).collect::<Vec<_>>().join(" ")
}

fn without_attempt(outcome: &Outcome) -> Ending {
    match outcome.reason {
        Some(reason) if outcome.exit_code != Some(0) => {
            let words = if outcome.message.is_empty() { reason.sentence() } else { &outcome.message };
            let line = sentence(&format!("{}: {} (task {})", heading(reason), clause(words), outcome.task));
            Ending { tone: Tone::Bad, line, next: vec![next::registered(reason)] }
        }
        _ => alive(outcome),
    }
}

fn alive(outcome: &Outcome) -> Ending {
    let line = if outcome.message.is_empty() { format!("{} lives on.", outcome.task) } else { outcome.message.clone() };
    Ending { tone: Tone::Plain, line, next: Vec::new() }
}

fn succeeded(outcome: &Outcome, attempt: &AttemptRecord, verdict: &Verdict) -> Ending {
    let on = attempt.pod.node.as_ref().map(|node| format!(", on {node}")).unwrap_or_default();
    let before = earlier(&outcome.attempts[..outcome.attempts.len() - 1]);
    let mut line = format!("succeeded, exit 0{on}, attempt {}{before}", attempt.number);
    if verdict.reason == Reason::SucceededWhileTerminating {
        line.push_str(&format!("; {}", meanwhile(attempt)));
        if let Some(words) = &verdict.detail {
            line.push_str(&format!(" ({})", clause(words)));
        }
    }
    Ending { tone: Tone::Good, line, next: Vec::new() }
}

/// What was under way when the program ended well.
fn meanwhile(attempt: &AttemptRecord) -> &'static str {
    match attempt.last_status.as_ref().and_then(|status| status.reason.as_deref()) {
        Some("DeadlineExceeded") => "its deadline had passed, and it ended within its grace",
        Some(_) => "its pod was being stopped",
        None => "its pod was being deleted",
    }
}

/// ` (1 preempted before it ran); no retries of yours were used`.
fn earlier(attempts: &[AttemptRecord]) -> String {
    let verdicts: Vec<&Verdict> =
        attempts.iter().filter_map(|attempt| Some(&attempt.verdict.as_ref()?.verdict)).collect();
    if verdicts.is_empty() {
        return String::new();
    }
    let mut groups: Vec<(String, usize)> = Vec::new();
    for words in verdicts.iter().map(|verdict| short(verdict)) {
        match groups.iter_mut().find(|(known, _)| *known == words) {
            Some((_, count)) => *count += 1,
            None => groups.push((words, 1)),
        }
    }
    let list: Vec<String> = groups.into_iter().map(|(words, count)| format!("{count} {words}")).collect();
    let failed = verdicts.iter().filter(|verdict| verdict.class == Class::Failed).count();
    let retries = match failed {
        0 => "no retries of yours were used".to_owned(),
        1 => "1 retry of yours was used".to_owned(),
        more => format!("{more} retries of yours were used"),
    };
    format!(" ({}); {retries}", list.join(", "))
}

/// `preempted before it ran`.
pub(crate) fn short(verdict: &Verdict) -> String {
    let Class::Disrupted { cause, started } = &verdict.class else { return verdict.class.name().to_owned() };
    let when = match started {
        Started::Never => "before it ran",
        Started::Started => "while it ran",
        Started::Unknown => "perhaps while it ran",
    };
    format!("{} {when}", deed(*cause))
}

/// What was done to the pod, as a participle.
fn deed(cause: Cause) -> &'static str {
    match cause {
        Cause::Preemption | Cause::CriticalPod => "preempted",
        Cause::Eviction | Cause::Taint | Cause::NodePressure => "evicted",
        Cause::NodeShutdown | Cause::NodeGone | Cause::NodeReboot | Cause::Unreachable => "lost with its node",
        Cause::Rejected => "rejected by its node",
        Cause::Queue => "taken back by its queue",
        Cause::DeletedOutside => "deleted by somebody",
        Cause::Provider | Cause::Other | Cause::Vanished => "lost",
    }
}

/// What disrupted it, as a noun.
pub(super) fn noun(cause: Cause) -> &'static str {
    match cause {
        Cause::Preemption => "preemption",
        Cause::CriticalPod => "preemption for a critical pod",
        Cause::Eviction => "an eviction",
        Cause::Taint => "a taint of its node",
        Cause::NodePressure => "pressure on its node",
        Cause::NodeShutdown => "its node's shutdown",
        Cause::NodeGone => "the loss of its node",
        Cause::NodeReboot => "its node's reboot",
        Cause::Rejected => "its node's rejection",
        Cause::Queue => "its queue",
        Cause::Provider => "its node's provider",
        Cause::Other => "another controller",
        Cause::DeletedOutside => "somebody's deletion",
        Cause::Vanished => "its disappearance",
        Cause::Unreachable => "the silence of its node",
    }
}

// --- failures -------------------------------------------------------------------------------------------------------------------------

fn failed(attempt: &AttemptRecord, verdict: &Verdict, ran: Option<Duration>, known: Known<'_>) -> String {
    let what = failure(verdict, known);
    let mut line = sentence(&format!("failed: {}", placed(&what, verdict, attempt, ran)));
    let last = known.last_line.filter(|last| verdict.reason == Reason::ProgramFailed && !last.trim().is_empty());
    if let Some(last) = last {
        line.push_str(&format!(" Last line: \"{}\".", words::shortened(&clause(last), 160)));
    }
    line
}

/// How the program failed.
pub(super) fn failure(verdict: &Verdict, known: Known<'_>) -> String {
    let limit = known.asked.memory_limit(known.container).filter(|_| verdict.reason == Reason::OutOfMemory);
    if let Some(limit) = limit {
        return format!("out of memory: the program was killed at its limit of {}", clause(&limit));
    }
    match (verdict.reason, verdict.exit_code) {
        (Reason::ProgramFailed, Some(code)) => format!("the program exited {code}"),
        (reason, Some(code)) => format!("{} (exit {code})", clause(&told(reason, verdict))),
        (reason, None) => clause(&told(reason, verdict)),
    }
}

fn launch_failed(attempt: &AttemptRecord, verdict: &Verdict, ran: Option<Duration>, known: Known<'_>) -> Ending {
    let reason = verdict.reason;
    let refusal = verdict.detail.as_deref().and_then(rule::denied);
    let (what, next) = match refusal {
        Some((who, rule)) if reason == Reason::Forbidden => (who, rule),
        // It failed, and then it could not be deleted.
        Some((who, rule)) => {
            (format!("{}; its pod {} is left behind: {who}", reason.sentence(), attempt.pod.name), rule)
        }
        None => (unlaunched(attempt, verdict, known), next::steps(verdict, attempt, known)),
    };
    let what = match (&attempt.pod.node, known.spec) {
        (Some(_), _) => placed(&what, verdict, attempt, ran),
        // No line before it has named the task.
        (None, Some(spec)) if attempt.pod.uid.is_empty() => format!("{what} (task {})", spec.task),
        (None, _) => what,
    };
    Ending { tone: Tone::Bad, line: sentence(&format!("{}: {what}", heading(reason))), next }
}

/// Why it could not be launched, with what the cluster says of it.
fn unlaunched(attempt: &AttemptRecord, verdict: &Verdict, known: Known<'_>) -> String {
    let detail = verdict.detail.as_deref().map(|words| clause(told_first(verdict.reason, words)));
    let detail = detail.filter(|words| !words.is_empty());
    let what = match verdict.reason {
        // Its words are the other pod's UID.
        Reason::NameTaken => return format!("pod {} exists, and is not of this task", attempt.pod.name),
        Reason::Image => {
            waiting_image(attempt, known).map(|image| format!("the image {} cannot be pulled", clause(image)))
        }
        reason => clocked(reason, known),
    };
    match (what, detail) {
        (Some(what), Some(detail)) => format!("{what}: {detail}"),
        (Some(what), None) => what,
        (None, _) => clause(&told(verdict.reason, verdict)),
    }
}

/// The scheduler goes on with what preemption would have brought: its first sentence says what is missing.
fn told_first(reason: Reason, words: &str) -> &str {
    let first = words.split(". ").next().unwrap_or(words);
    if reason == Reason::ScheduleTimeout { first } else { words }
}

/// The image of the container that was waited for. The last status may show its end, and not its wait any more: what then waits for others
/// (`PodInitializing`) is not it.
fn waiting_image<'a>(attempt: &AttemptRecord, known: Known<'a>) -> Option<&'a str> {
    let status = attempt.last_status.iter();
    let mut all = status.flat_map(|status| status.init_container_statuses.iter().chain(&status.container_statuses));
    let is_it = |reason: &Option<String>| reason.as_deref() != Some("PodInitializing");
    let waits = all.find(|status| status.state.waiting.as_ref().is_some_and(|waiting| is_it(&waiting.reason)));
    known.asked.image(waits.map(|status| status.name.as_str()).or(known.waiting)?)
}

/// The end of a clock, in its own terms.
fn clocked(reason: Reason, known: Known<'_>) -> Option<String> {
    let clocks = known.spec?.clocks;
    Some(match reason {
        Reason::StartTimeout => format!("no progress towards its start for {}", span(clocks.start?)),
        Reason::ScheduleTimeout => format!("no node within {}", span(clocks.schedule?)),
        Reason::QueueTimeout if known.gates.is_empty() => format!("not released within {}", span(clocks.queue?)),
        Reason::QueueTimeout => format!("held by {} for {}", clause(&known.gates.join(", ")), span(clocks.queue?)),
        Reason::RunTimeout => format!("the program ran for more than {}", span(clocks.run?)),
        Reason::Timeout => format!("the task was not done within {}", span(clocks.total?)),
        _ => return None,
    })
}

/// What happened, and where: behind the cluster's own words with a comma, so that they stay apart.
fn placed(what: &str, verdict: &Verdict, attempt: &AttemptRecord, ran: Option<Duration>) -> String {
    let comma = if verdict.detail.is_some() { "," } else { "" };
    format!("{what}{comma} {}", place(attempt, ran))
}

// --- disruptions ----------------------------------------------------------------------------------------------------------------------

fn lost(attempt: &AttemptRecord, verdict: &Verdict, ran: Option<Duration>) -> String {
    let started = match verdict.class {
        Class::Disrupted { started, .. } => started,
        _ => Started::Unknown,
    };
    let what = clause(&told(verdict.reason, verdict));
    let elsewhere = attempt.pod.node.as_ref().filter(|node| !what.contains(node.as_str()));
    let on = elsewhere.map(|node| format!(" ({node})")).unwrap_or_default();
    let ran = match (started, ran) {
        (Started::Never, _) => "it never ran".to_owned(),
        (Started::Started, Some(time)) => format!("it had run for {}", some_span(time)),
        (Started::Started, None) => "its program had started".to_owned(),
        (Started::Unknown, _) => "it is not known whether it ran".to_owned(),
    };
    format!("lost: {what}{on}; {ran} (attempt {}).", attempt.number)
}

// --- stops ----------------------------------------------------------------------------------------------------------------------------

/// The user's cancel.
fn cancelled(attempt: &AttemptRecord, verdict: &Verdict, ran: Option<Duration>, known: Known<'_>) -> Ending {
    let (pod, at) = (&attempt.pod.name, place(attempt, ran));
    let odd = |line: String| Ending { tone: Tone::Odd, line, next: Vec::new() };
    let bad = |line: String, next| Ending { tone: Tone::Bad, line: sentence(&line), next };
    let task = known.spec.map_or("TASK", |spec| &spec.task);
    match (attempt.pod.uid.is_empty(), in_doubt(verdict)) {
        (true, None) => odd(format!("cancelled {at}, no pod of task {task} was made")),
        (true, Some(why)) => {
            let cancel = format!("If it is there after all: {} cancel {task}{}", words::program(), known.again);
            bad(format!("cancelled {at}: {}", clause(why)), vec![cancel])
        }
        (false, None) if verdict.stopped => odd(format!("cancelled {at}; its pod has ended")),
        (false, None) => odd(format!("cancelled {at}; its pod is gone, and no node said that it had ended")),
        (false, Some(why)) => match rule::denied(why) {
            Some((who, rule)) => bad(
                format!("not cancelled: pod {pod} {}; {who}", stands(attempt)),
                rule.into_iter().chain([take_over(known)]).collect(),
            ),
            None if !why.starts_with(TOLD_TO_END) => {
                bad(format!("not cancelled: pod {pod} {}: {}", stands(attempt), clause(why)), vec![take_over(known)])
            }
            None => {
                let line = format!("cancelled {at}, but pod {pod} may still run{}: {}", on(attempt), clause(why));
                bad(line, vec![look(pod, known)])
            }
        },
    }
}

/// A clock of kpo's has stopped it.
fn stopped(attempt: &AttemptRecord, verdict: &Verdict, ran: Option<Duration>, known: Known<'_>) -> Ending {
    let pod = &attempt.pod.name;
    let what = clocked(verdict.reason, known).unwrap_or_else(|| verdict.reason.sentence().to_owned());
    let waited = verdict.detail.as_deref().filter(|_| verdict.stopped).map(|words| format!(": {}", clause(words)));
    let what = placed(&format!("{what}{}", waited.unwrap_or_default()), verdict, attempt, ran);
    let line = format!("{}: {what}", heading(verdict.reason));
    let (line, mut next) = match in_doubt(verdict) {
        None => (line, Vec::new()),
        Some(why) if attempt.pod.uid.is_empty() => (format!("{line}: {}", clause(why)), Vec::new()),
        Some(why) => match rule::denied(why) {
            Some((who, rule)) => (format!("{line}; its pod {pod} still runs{}: {who}", on(attempt)), rule),
            None => {
                let line = format!("{line}; its pod {pod} may still run{}: {}", on(attempt), clause(why));
                (line, vec![look(pod, known)])
            }
        },
    };
    next.extend(next::steps(verdict, attempt, known));
    Ending { tone: Tone::Bad, line: sentence(&line), next }
}

/// Why it is not known that what was stopped has ended. `None`: it is known, or nothing more can be said.
pub(crate) fn in_doubt(verdict: &Verdict) -> Option<&str> {
    let why = verdict.detail.as_deref().filter(|_| verdict.class == Class::Cancelled && !verdict.stopped)?;
    // That is what is said in front of it.
    Some(why.trim_end_matches(": it may still run"))
}

/// Of a pod that stays when its task has finished: until when, and how it goes. `None`: it does not stay.
pub(crate) fn kept(outcome: &Outcome, spec: &Spec, now: Time) -> Option<String> {
    let attempt = outcome.attempts.last().filter(|attempt| !attempt.pod.uid.is_empty())?;
    let judged = attempt.verdict.as_ref()?;
    let is_leaving = |fact: &Fact| matches!(fact, Fact::DeletionRequested { .. } | Fact::Gone { .. });
    let lifetime = match spec.on_finish {
        OnFinish::None => return None,
        OnFinish::All => None,
        OnFinish::Failed { .. } if judged.verdict.class == Class::Succeeded => return None,
        OnFinish::Failed { lifetime } => lifetime,
    };
    if judged.entries.iter().any(|entry| is_leaving(&entry.fact)) {
        return None;
    }
    let (pod, namespace) = (&attempt.pod.name, &attempt.pod.namespace);
    Some(match lifetime {
        Some(lifetime) => format!("pod {pod} is kept until {}", words::minute(now + lifetime)),
        None => format!("pod {pod} is kept; it goes by: kubectl delete pod {pod} -n {namespace}"),
    })
}

/// How the core begins where a deletion was accepted, and its end was not seen.
const TOLD_TO_END: &str = "it was told to end";

/// What a pod does that could not be deleted: this process leaves it, and the observer before has left it too.
fn stands(attempt: &AttemptRecord) -> String {
    let stands =
        attempt.pod.node.as_ref().map_or_else(|| "is still there".to_owned(), |node| format!("still runs on {node}"));
    format!("{stands}, and nobody watches over it now")
}

fn take_over(known: Known<'_>) -> String {
    let task = known.spec.map_or("TASK", |spec| &spec.task);
    format!("To watch over it again: {} attach {task} --take-over{}", words::program(), known.again)
}

fn on(attempt: &AttemptRecord) -> String {
    attempt.pod.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default()
}

fn look(pod: &str, known: Known<'_>) -> String {
    let why = format!("{} why {pod}{}", words::program(), known.again);
    format!("It goes when its node answers again, or is removed. What is known of it: {why}")
}

// --- words ----------------------------------------------------------------------------------------------------------------------------

/// The first word of a line about that reason.
pub(crate) fn heading(reason: Reason) -> &'static str {
    match reason {
        Reason::Refused | Reason::Forbidden => "refused",
        Reason::StartTimeout
        | Reason::ScheduleTimeout
        | Reason::QueueTimeout
        | Reason::RunTimeout
        | Reason::Timeout => "timed out",
        Reason::NoPod => "not found",
        reason if reason.is_launch_failure() => "launch failed",
        _ => "failed",
    }
}

/// What happened: our sentence, and the cluster's own words behind it.
pub(super) fn told(reason: Reason, verdict: &Verdict) -> String {
    match verdict.detail.as_deref().map(clause).filter(|words| !words.is_empty()) {
        _ if reason == Reason::DeletedOutside => {
            "its pod was deleted, and no scheduler, autoscaler or node says that it was they".to_owned()
        }
        // The scheduler's own words say all: who, and where.
        Some(words) if reason == Reason::Preempted => lower_first(&words),
        Some(words) if reason.sentence().contains(words.as_str()) => reason.sentence().to_owned(),
        Some(words) => format!("{}: {words}", reason.sentence()),
        None => reason.sentence().to_owned(),
    }
}

fn lower_first(words: &str) -> String {
    let mut chars = words.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// `on node-1 after 12 s (attempt 1)`.
fn place(attempt: &AttemptRecord, ran: Option<Duration>) -> String {
    let on = attempt.pod.node.as_ref().map(|node| format!("on {node} ")).unwrap_or_default();
    let after = ran.map(|time| format!("after {} ", some_span(time))).unwrap_or_default();
    format!("{on}{after}(attempt {})", attempt.number)
}

/// Nodes tell whole seconds: none is less than one, and one may be much less or more.
fn some_span(time: Duration) -> String {
    match time {
        Duration::ZERO => "less than 1 s".to_owned(),
        time if time == Duration::from_secs(1) => "about 1 s".to_owned(),
        time => span(time),
    }
}

/// Why *never* is believed, in a sentence. `others`: containers that ran and do not count, since the manifest does not name them: kpo's own, and
/// what a webhook added.
pub(super) fn proof(proof: Proof, node: Option<&str>, others: &[String]) -> String {
    let node = node.map(|node| format!(" on {node}")).unwrap_or_default();
    let (of, but) = match others {
        [] => ("it", String::new()),
        names => ("yours", format!(" ({} ran, which your manifest does not name)", names.join(", "))),
    };
    match proof {
        Proof::NeverBound => "it was never bound to a node".to_owned(),
        Proof::KubeletAttested => {
            format!("the kubelet{node} closed the pod, and no container of {of} ever had an ID{but}")
        }
        Proof::KubeletRejected => {
            format!("the kubelet{node} refused the pod, and nothing of {of} was ever seen to run{but}")
        }
    }
}

/// What became of an attempt that is followed by another: the line, and what it means.
pub(super) fn attempt_ended(
    verdict: &Verdict,
    node: Option<&str>,
    others: &[String],
) -> (Tone, String, Option<String>) {
    let words = told(verdict.reason, verdict);
    match &verdict.class {
        Class::Disrupted { started, .. } => {
            let on = node.filter(|node| !words.contains(node)).map(|node| format!(" on {node}")).unwrap_or_default();
            let meaning = match (started, verdict.proof) {
                (Started::Never, Some(why)) => format!("it never ran: {}", proof(why, node, others)),
                (Started::Never, None) => "it never ran".to_owned(),
                (Started::Started, _) => "its program had started".to_owned(),
                (Started::Unknown, _) => "it is not known whether its program ran".to_owned(),
            };
            (Tone::Odd, format!("{}{on}", clause(&words)), Some(meaning))
        }
        Class::Succeeded => (Tone::Good, "the program succeeded".to_owned(), None),
        Class::Failed | Class::LaunchFailed | Class::Cancelled => (Tone::Bad, failure(verdict, Known::default()), None),
    }
}
