//! A task's events as lines, in the order in which they come.

use super::rule::{failing, with_rule};
use super::words::{clause, offset, span, whole};
use super::{end, wait};
use crate::printer::Tone;
use crate::retries::Retry;
use kpo_core::{Because, Event, Hindrance, Next, NoRerun, Reason, Stop, Time};
use std::time::Duration;

/// A line of kpo's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// How it is meant.
    pub(crate) tone: Tone,
    /// The text; further lines of it are indented already.
    pub(crate) text: String,
}

/// Tells a task's story.
pub(crate) struct Teller {
    task: String,
    in_lab: bool,
    began: Option<Time>,
    attempt: u32,
    pod: Option<String>,
    node: Option<String>,
    waits: Option<(Because, Time)>,
    /// Why no other attempt followed the last one.
    why_no_rerun: Option<NoRerun>,
    /// Whether this process only follows.
    follows: bool,
    /// Whether it was said that the pod is taken away.
    disrupting: bool,
    /// Whether it was said that the cluster is out of sight.
    out_of_sight: bool,
    /// Whether it was said that a request is tried again and again.
    asks_again: bool,
}

/// Width of the column of offsets.
const OFFSET: usize = 7;

impl Teller {
    /// `in_lab`: the cluster ends with this process, and nobody can be asked afterwards.
    pub(crate) fn new(task: &str, in_lab: bool) -> Self {
        let (began, attempt) = (None, 0);
        Self {
            task: task.to_owned(),
            in_lab,
            began,
            attempt,
            pod: None,
            node: None,
            waits: None,
            why_no_rerun: None,
            follows: false,
            disrupting: false,
            out_of_sight: false,
            asks_again: false,
        }
    }

    /// Why no other attempt followed the last one. `None`: none would be expected.
    pub(crate) fn why_no_rerun(&self) -> Option<NoRerun> {
        self.why_no_rerun
    }

    /// The current pod's name. `None`: there is none yet.
    pub(crate) fn pod(&self) -> Option<&str> {
        self.pod.as_deref()
    }

    /// The live line. `None`: there is nothing to wait for.
    pub(crate) fn status(&self, now: Time) -> Option<String> {
        let (because, since) = self.waits.as_ref()?;
        if matches!(because, Because::Finished | Because::Detached) {
            return None;
        }
        let attempt = if self.attempt > 1 { format!(" · attempt {}", self.attempt) } else { String::new() };
        Some(format!("{}  {}{attempt}", self.task, wait::status(because, *since, now)))
    }

    /// What the task waits for now.
    pub(crate) fn waits(&mut self, because: &Because, now: Time) {
        if self.waits.as_ref().is_none_or(|(known, _)| std::mem::discriminant(known) != std::mem::discriminant(because))
        {
            self.waits = Some((because.clone(), now));
        } else if let Some((known, _)) = &mut self.waits {
            known.clone_from(because);
        }
    }

    /// How an event is told. Nothing: it is not worth a line.
    pub(crate) fn tell(&mut self, event: &Event, now: Time) -> Vec<Line> {
        self.began.get_or_insert(now);
        match event {
            Event::Created { attempt, pod, at_most, backoff, .. } => {
                self.begin(*attempt, pod);
                let what = match backoff {
                    Some(backoff) if !backoff.is_zero() => format!("waits {}, then for a node", span(*backoff)),
                    _ => format!("created {pod}"),
                };
                let of = if *attempt == 1 { format!(" of ≤ {at_most}") } else { String::new() };
                vec![self.header(format!("attempt {attempt}{of}   {what}"))]
            }
            Event::Adopted { attempt, pod, follows, recreates, .. } => {
                self.begin(*attempt, pod);
                self.follows = *follows;
                let more = match (follows, recreates) {
                    (true, _) => "; only followed: --take-over would watch over it",
                    (false, true) => "",
                    (false, false) => "; its manifest is not known here, so that it is not run again",
                };
                vec![self.header(format!("attempt {attempt}   found {pod}{more}"))]
            }
            Event::Ungated { .. } => vec![],
            Event::Assigned { node, .. } => {
                self.node = Some(node.clone());
                vec![self.line(now, Tone::Plain, format!("assigned to {node}"))]
            }
            Event::Waiting { because, .. } => {
                self.waits(because, now);
                if matches!(because, Because::Termination { .. }) {
                    return self.unsigned_deletion(now);
                }
                wait::worth_saying(because).map(|text| self.line(now, Tone::Odd, text)).into_iter().collect()
            }
            Event::Running { node, .. } => {
                self.node = Some(node.clone());
                let because = Because::Program { node: node.clone(), deadline: None };
                self.waits(&because, now);
                vec![self.line(now, Tone::Plain, "running".to_owned())]
            }
            Event::TakenOver { by } => vec![self.line(
                now,
                Tone::Odd,
                format!(
                    "taken over by another observer ({}): this process leaves, and the task goes on there",
                    clause(by)
                ),
            )],
            Event::Disrupting { reason, .. } => {
                self.disrupting = true;
                vec![self.line(now, Tone::Odd, format!("is taken away: {}", reason.sentence()))]
            }
            Event::Ended { verdict, next, .. } => self.ended(verdict, next, now),
            Event::Stopping { stop, because } => self.stopping(*stop, because, now),
            Event::Deleting { reason, grace_seconds, .. } => {
                // That it was the user is said already.
                let why = Some(reason).filter(|reason| **reason != Reason::CancelledByUser);
                let why = why.map(|reason| format!("{}: ", reason.sentence())).unwrap_or_default();
                let text = format!("{why}the pod is deleted, with its grace of {grace_seconds} s");
                vec![self.line(now, Tone::Odd, text)]
            }
            Event::Sight { watching } => self.sight(*watching, now),
            Event::Unwatched { protected, every, message } => vec![self.unwatched(*protected, *every, message, now)],
            Event::Hindered { what, message } => {
                vec![self.line(now, Tone::Odd, with_rule(&format!("{}: {message}", hindrance(*what))))]
            }
            _ => vec![],
        }
    }

    fn begin(&mut self, attempt: u32, pod: &str) {
        self.attempt = attempt;
        self.pod = Some(pod.to_owned());
        self.node = None;
        self.disrupting = false;
    }

    /// kpo's own deletions are no wait, and a signed one was told: of any other it is said at once that nobody signed.
    fn unsigned_deletion(&self, now: Time) -> Vec<Line> {
        let text = match (self.disrupting, self.follows) {
            (true, _) => return Vec::new(),
            (false, true) => "is being deleted",
            (false, false) => "is being deleted; nobody signed it so far (no scheduler, autoscaler or node)",
        };
        vec![self.line(now, Tone::Odd, text.to_owned())]
    }

    fn ended(&mut self, verdict: &kpo_core::Verdict, next: &Next, now: Time) -> Vec<Line> {
        match next {
            // The task's own ending is said once, from its outcome.
            Next::End { why } => {
                self.why_no_rerun = *why;
                Vec::new()
            }
            Next::Rerun { .. } => {
                let (tone, mut text, meaning) = end::attempt_ended(verdict, self.node.as_deref());
                if let Some(meaning) = meaning {
                    let ask = self.pod.as_ref().filter(|_| !self.in_lab).map(|pod| format!("   (kpo why {pod})"));
                    text.push_str(&format!("\n{:OFFSET$}  {meaning}{}", "", ask.unwrap_or_default()));
                }
                vec![self.line(now, tone, text)]
            }
        }
    }

    /// A watch that stands is what is expected: only one that breaks, and comes back, is worth a line.
    fn sight(&mut self, watching: bool, now: Time) -> Vec<Line> {
        if !watching || !std::mem::replace(&mut self.out_of_sight, false) {
            return Vec::new();
        }
        vec![self.line(now, Tone::Odd, "the cluster is in sight again".to_owned())]
    }

    /// Why the cluster cannot be seen. A watch that only has to be opened anew is not worth a line: no trouble was told of it.
    pub(crate) fn trouble(&mut self, why: &str, now: Time) -> Line {
        self.out_of_sight = true;
        let text = format!("the cluster cannot be seen ({}); the task runs on, and is looked for", clause(why));
        self.line(now, Tone::Odd, text)
    }

    /// A request that is tried again, and the success of one: of an outage that the watch has told of nothing more.
    pub(crate) fn retry(&mut self, retry: &Retry, now: Option<Time>) -> Option<Line> {
        let told = std::mem::replace(&mut self.asks_again, *retry != Retry::Recovered);
        let text = match retry {
            Retry::Failing { what, why } => failing(what, why),
            Retry::Recovered if told => "the API server answers again".to_owned(),
            Retry::Recovered => return None,
        };
        (!self.out_of_sight).then(|| Line { tone: Tone::Odd, text: self.stamped(text, now) })
    }

    /// Watching is forbidden: what is done instead, and what that does not cover.
    fn unwatched(&mut self, protected: bool, every: Duration, message: &str, now: Time) -> Line {
        self.out_of_sight = true;
        let covered = if protected {
            "kpo's finalizer holds it, so that its last state is seen"
        } else {
            "if it vanishes in between, how it ended is not known"
        };
        let text = format!("watching is forbidden; the pod is read every {}; {covered}: {message}", span(every));
        self.line(now, Tone::Odd, with_rule(&text))
    }

    /// What a wish to stop waits for, where that is not just the end of the pod.
    fn stopping(&self, stop: Stop, because: &Because, now: Time) -> Vec<Line> {
        let what = match stop {
            Stop::User => "cancelling (once more Ctrl-C leaves at once)",
            Stop::Deadline => "its time is up",
            Stop::Shutdown => return Vec::new(),
        };
        let first = match because {
            Because::Creation => {
                ": the API server has yet to answer the create, which is not sent again; a pod that it has made is deleted"
            }
            Because::Unreachable { .. } => ": its node does not answer; the pod goes when that is back, or is removed",
            Because::Completion => ": it has ended already; what is left of it is fetched and cleaned up",
            _ => "",
        };
        vec![self.line(now, Tone::Odd, format!("{what}{first}"))]
    }

    /// A line with the time since the task began in front. `None`: without.
    pub(crate) fn stamped(&self, text: String, now: Option<Time>) -> String {
        match now.zip(self.began) {
            Some((now, began)) => format!("{:>OFFSET$}  {text}", offset(now.since(began))),
            None => text,
        }
    }

    fn header(&self, text: String) -> Line {
        Line { tone: Tone::Plain, text: format!("{}  {text}", self.task) }
    }

    fn line(&self, now: Time, tone: Tone, text: String) -> Line {
        let since = now.since(self.began.unwrap_or(now));
        Line { tone, text: format!("{:>OFFSET$}  {text}", offset(since)) }
    }

    /// When the pod ends by itself, if nobody watches any more. `None`: it has no deadline.
    pub(crate) fn ends_by_itself(&self, now: Time) -> Option<String> {
        match self.waits.as_ref() {
            Some((Because::Program { deadline: Some(deadline), .. }, _)) => Some(whole(deadline.since(now))),
            _ => None,
        }
    }
}

fn hindrance(what: Hindrance) -> &'static str {
    match what {
        Hindrance::Events => "events cannot be read, so that explanations are poorer",
        Hindrance::Delete => "the pod could not be deleted, and is left behind",
        Hindrance::Ungate => {
            "the gate of the next attempt could not be lifted (where that is forbidden, it is made again without one)"
        }
        Hindrance::Gate => "the cluster has no scheduling gates: what they would hold is waited for in memory",
        Hindrance::Annotate => "the task's state could not be written to its pod",
        Hindrance::Release => "kpo's finalizer could not be removed (kpo sweep does)",
        Hindrance::Read => "the pod could not be read",
    }
}
