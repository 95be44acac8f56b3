//! What became of an attempt or a task, in one line, and what to do.

use super::words::{self, clause, sentence, span, unquoted};
use crate::printer::Tone;
use kpo_core::{AttemptRecord, Cause, Class, NoRerun, Outcome, Proof, Reason, Started, Verdict};
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
}

/// How a task ended.
pub(crate) fn ending(outcome: &Outcome, known: Known<'_>) -> Ending {
    let ran = outcome.attempts.last().and_then(|attempt| attempt.ran(known.container));
    let Some(attempt) = outcome.attempts.last() else { return without_attempt(outcome) };
    let Some(judged) = &attempt.verdict else { return alive(outcome) };
    if outcome.reason == Some(Reason::ResultMissing) && judged.verdict.class == Class::Succeeded {
        let line = format!("failed: {}, {}", clause(&outcome.message), place(attempt, ran));
        let next = super::rule::missing_rule(&line).unwrap_or_else(|| next_step(Reason::ResultMissing));
        return Ending { tone: Tone::Bad, line: sentence(&line), next: vec![next] };
    }
    let verdict = &judged.verdict;
    match &verdict.class {
        Class::Succeeded => succeeded(outcome, attempt, verdict),
        Class::Failed => failed(attempt, verdict, ran, known.last_line),
        Class::LaunchFailed => launch_failed(attempt, verdict, ran),
        Class::Disrupted { .. } => lost(attempt, verdict, ran, known.why),
        Class::Cancelled => cancelled(attempt, verdict, ran),
    }
}

/// The same as one line: the Outcome's message.
pub(crate) fn one_line(outcome: &Outcome, known: Known<'_>) -> String {
    let Ending { line, next, .. } = ending(outcome, known);
    std::iter::once(line).chain(next).collect::<Vec<_>>().join(" ")
}

fn without_attempt(outcome: &Outcome) -> Ending {
    match outcome.reason {
        Some(reason) if outcome.exit_code != Some(0) => {
            let words = if outcome.message.is_empty() { reason.sentence() } else { &outcome.message };
            Ending {
                tone: Tone::Bad,
                line: sentence(&format!("{}: {words}", heading(reason))),
                next: vec![next_step(reason)],
            }
        }
        _ => alive(outcome),
    }
}

fn alive(outcome: &Outcome) -> Ending {
    Ending { tone: Tone::Plain, line: format!("{} lives on", outcome.task), next: Vec::new() }
}

fn succeeded(outcome: &Outcome, attempt: &AttemptRecord, verdict: &Verdict) -> Ending {
    let on = attempt.pod.node.as_ref().map(|node| format!(", on {node}")).unwrap_or_default();
    let before = earlier(&outcome.attempts[..outcome.attempts.len() - 1]);
    let mut line = format!("succeeded, exit 0{on}, attempt {}{before}", attempt.number);
    if verdict.reason == Reason::SucceededWhileTerminating {
        line.push_str("; its pod was being deleted");
        if let Some(words) = &verdict.detail {
            line.push_str(&format!(" ({})", clause(words)));
        }
    }
    Ending { tone: Tone::Good, line, next: Vec::new() }
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

fn failed(attempt: &AttemptRecord, verdict: &Verdict, ran: Option<Duration>, last_line: Option<&str>) -> Ending {
    let what = match (verdict.reason, verdict.exit_code) {
        (Reason::ProgramFailed, Some(code)) => format!("the program exited {code}"),
        (reason, Some(code)) => format!("{} (exit {code})", clause(&told(reason, verdict))),
        (reason, None) => clause(&told(reason, verdict)),
    };
    let mut line = sentence(&format!("failed: {}", placed(&what, verdict, attempt, ran)));
    if let Some(last) = last_line.filter(|last| verdict.reason == Reason::ProgramFailed && !last.trim().is_empty()) {
        line.push_str(&format!(" Last line: \"{}\".", words::shortened(&clause(last), 160)));
    }
    let next = if verdict.reason == Reason::ProgramFailed { Vec::new() } else { vec![next_step(verdict.reason)] };
    Ending { tone: Tone::Bad, line, next }
}

fn launch_failed(attempt: &AttemptRecord, verdict: &Verdict, ran: Option<Duration>) -> Ending {
    let what = clause(&told(verdict.reason, verdict));
    let what = if attempt.pod.node.is_some() { placed(&what, verdict, attempt, ran) } else { what };
    let rule =
        verdict.detail.as_deref().filter(|_| verdict.reason == Reason::Forbidden).and_then(super::rule::missing_rule);
    let next = vec![rule.unwrap_or_else(|| next_step(verdict.reason))];
    Ending { tone: Tone::Bad, line: sentence(&format!("{}: {what}", heading(verdict.reason))), next }
}

/// What happened, and where: behind the cluster's own words with a comma, so that they stay apart.
fn placed(what: &str, verdict: &Verdict, attempt: &AttemptRecord, ran: Option<Duration>) -> String {
    let comma = if verdict.detail.is_some() { "," } else { "" };
    format!("{what}{comma} {}", place(attempt, ran))
}

fn lost(attempt: &AttemptRecord, verdict: &Verdict, ran: Option<Duration>, why: Option<NoRerun>) -> Ending {
    let (cause, started) = match verdict.class {
        Class::Disrupted { cause, started } => (cause, started),
        _ => (Cause::Other, Started::Unknown),
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
    let mut next: Vec<String> = why.map(|why| no_rerun(why, cause, started)).into_iter().collect();
    next.push(next_step(verdict.reason));
    let line = format!("lost: {what}{on}; {ran} (attempt {}).", attempt.number);
    Ending { tone: Tone::Bad, line, next }
}

/// Why no other attempt follows, and which flag would change that.
fn no_rerun(why: NoRerun, cause: Cause, started: Started) -> String {
    let text = match why {
        NoRerun::Policy if cause == Cause::Unreachable => "Nothing is started beside it.",
        NoRerun::Policy if started == Started::Never => "Not run again: --rerun=never.",
        NoRerun::Policy => "Not run again: it may have had effects, and --rerun does not allow that (kpo help rerun).",
        NoRerun::Budget if started == Started::Never => {
            "Not run again: the reruns are used up (--rerun-never-started)."
        }
        NoRerun::Budget => "Not run again: the reruns are used up (--rerun-started).",
        NoRerun::Committed => "Not run again: the program had passed its point of no return.",
        NoRerun::UnsignedDelete => "Not run again: somebody wanted it gone.",
        NoRerun::Stopped => "Not run again: a stop was asked for.",
        NoRerun::Deadline => "Not run again: its total time is used up (--timeout).",
        NoRerun::NoManifest => {
            "Not run again: the manifest as submitted is not known here (kpo attach --take-over -f FILE)."
        }
        NoRerun::Over => "The task had ended before; its pod was kept.",
        NoRerun::Follower => "Not run again from here: this process only follows; kpo attach --take-over would.",
    };
    text.to_owned()
}

fn cancelled(attempt: &AttemptRecord, verdict: &Verdict, ran: Option<Duration>) -> Ending {
    if verdict.reason == Reason::CancelledByUser {
        let pod = if attempt.pod.uid.is_empty() { "no pod was made" } else { "its pod is deleted" };
        let line = format!("cancelled {}, {pod}", place(attempt, ran));
        return Ending { tone: Tone::Odd, line, next: Vec::new() };
    }
    let what = placed(&clause(&told(verdict.reason, verdict)), verdict, attempt, ran);
    let line = format!("{}: {what}", heading(verdict.reason));
    Ending { tone: Tone::Bad, line: sentence(&line), next: vec![next_step(verdict.reason)] }
}

/// The first word of a line about that reason.
fn heading(reason: Reason) -> &'static str {
    match reason {
        Reason::Refused | Reason::Forbidden => "refused",
        Reason::StartTimeout | Reason::ScheduleTimeout | Reason::QueueTimeout | Reason::Timeout => "timed out",
        Reason::NoPod => "not found",
        reason if reason.is_launch_failure() => "launch failed",
        _ => "failed",
    }
}

/// What happened: our sentence, and the cluster's own words behind it.
fn told(reason: Reason, verdict: &Verdict) -> String {
    match verdict.detail.as_deref().map(clause).filter(|words| !words.is_empty()) {
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

fn next_step(reason: Reason) -> String {
    unquoted(reason.next_step())
}

/// `on node-1 after 12 s (attempt 1)`.
fn place(attempt: &AttemptRecord, ran: Option<Duration>) -> String {
    let on = attempt.pod.node.as_ref().map(|node| format!("on {node} ")).unwrap_or_default();
    let after = ran.map(|time| format!("after {} ", some_span(time))).unwrap_or_default();
    format!("{on}{after}(attempt {})", attempt.number)
}

/// Nodes tell whole seconds: none is less than one.
fn some_span(time: Duration) -> String {
    if time.is_zero() { "less than 1 s".to_owned() } else { span(time) }
}

/// Why *never* is believed, in a sentence.
pub(super) fn proof(proof: Proof, node: Option<&str>) -> String {
    let node = node.map(|node| format!(" on {node}")).unwrap_or_default();
    match proof {
        Proof::NeverBound => "it was never bound to a node".to_owned(),
        Proof::KubeletAttested => format!("the kubelet{node} closed the pod, and no container of it ever had an ID"),
        Proof::KubeletRejected => format!("the kubelet{node} refused the pod, and nothing of it was ever seen to run"),
    }
}

/// What became of an attempt that is followed by another: the line, and what it means.
pub(super) fn attempt_ended(verdict: &Verdict, node: Option<&str>) -> (Tone, String, Option<String>) {
    let words = told(verdict.reason, verdict);
    match &verdict.class {
        Class::Disrupted { started, .. } => {
            let on = node.filter(|node| !words.contains(node)).map(|node| format!(" on {node}")).unwrap_or_default();
            let meaning = match (started, verdict.proof) {
                (Started::Never, Some(why)) => format!("it never ran: {}", proof(why, node)),
                (Started::Never, None) => "it never ran".to_owned(),
                (Started::Started, _) => "its program had started".to_owned(),
                (Started::Unknown, _) => "it is not known whether its program ran".to_owned(),
            };
            (Tone::Odd, format!("{}{on}", clause(&words)), Some(meaning))
        }
        Class::Succeeded => (Tone::Good, "the program succeeded".to_owned(), None),
        Class::Failed | Class::LaunchFailed | Class::Cancelled => {
            let code = verdict.exit_code.map(|code| format!(" (exit {code})")).unwrap_or_default();
            (Tone::Bad, format!("{}{code}", clause(&words)), None)
        }
    }
}
