//! A task's events as lines, in the order in which they come.

use super::asked::Asked;
use super::end::{self, Known};
use super::next::Log;
use super::rule::{failing, with_rule};
use super::wait::{self, Waiting};
use super::words::{clause, offset, program, span};
use crate::printer::Tone;
use crate::retries::Retry;
use crate::session::Errand;
use kpo_core::{Because, Event, Hindrance, Next, NoRerun, Reason, Spec, Stop, Time};
use serde_json::Value;
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
    pub(super) spec: Spec,
    /// The manifest. `None`: it is not known.
    asked: Option<Value>,
    pub(super) in_lab: bool,
    errand: Errand,
    began: Option<Time>,
    attempt: u32,
    pod: Option<String>,
    node: Option<String>,
    /// When the current pod was seen to be bound.
    assigned_at: Option<Time>,
    waits: Option<Waiting>,
    /// The gates that held the task last.
    gates: Vec<String>,
    /// The container whose start was waited for last.
    waiting: Option<String>,
    /// Containers that are not the manifest's and were seen to run.
    others: Vec<String>,
    /// Why no other attempt followed the last one.
    why_no_rerun: Option<NoRerun>,
    /// Whether this process only follows.
    pub(super) follows: bool,
    /// Whether the task was found, and not begun here: what was so before has no time.
    found: bool,
    /// What is appended to a command about it.
    again: String,
    /// Whether it was said that the pod is taken away.
    disrupting: bool,
    /// Whether kpo is deleting the pod, to stop it.
    pub(super) deleting: bool,
    /// Whether the next attempt is due, and not made yet.
    is_due: bool,
    /// What was waited for when the last stop was asked for.
    left_while: Option<Because>,
    /// Whether it was said that the cluster is out of sight.
    out_of_sight: bool,
    /// Whether it was said that a request is tried again and again.
    asks_again: bool,
}

/// Width of the column of offsets.
const OFFSET: usize = 7;

impl Teller {
    /// `asked`: the manifest, if it is known. `in_lab`: the cluster ends with this process, and nobody can be asked afterwards.
    pub(crate) fn new(spec: &Spec, asked: Option<Value>, in_lab: bool, errand: Errand) -> Self {
        Self {
            spec: spec.clone(),
            asked,
            in_lab,
            errand,
            began: None,
            attempt: 0,
            pod: None,
            node: None,
            assigned_at: None,
            waits: None,
            gates: Vec::new(),
            waiting: None,
            others: Vec::new(),
            why_no_rerun: None,
            follows: false,
            found: false,
            again: format!(" -n {}", spec.namespace),
            disrupting: false,
            deleting: false,
            is_due: false,
            left_while: None,
            out_of_sight: false,
            asks_again: false,
        }
    }

    /// The same; what is appended to a command about the task: ` -n batch --context prod`. Default: its namespace.
    pub(crate) fn with_again(self, again: &str) -> Self {
        Self { again: again.to_owned(), ..self }
    }

    /// What is known of the task's end beside its outcome.
    pub(crate) fn known<'a>(&'a self, last_line: Option<&'a str>, log: Log) -> Known<'a> {
        Known {
            container: &self.spec.template.container,
            why: self.why_no_rerun,
            last_line,
            spec: Some(&self.spec),
            asked: self.asked(),
            gates: &self.gates,
            waiting: self.waiting.as_deref(),
            log,
            preemptor: None,
            again: &self.again,
        }
    }

    /// The current pod's name. `None`: there is none yet.
    pub(crate) fn pod(&self) -> Option<&str> {
        self.pod.as_deref()
    }

    /// The name of the first attempt's pod.
    pub(super) fn first_pod(&self) -> String {
        format!("{}-1", self.spec.task)
    }

    /// Whether the current attempt's pod was made.
    pub(super) fn is_made(&self) -> bool {
        !self.is_due
    }

    /// Whether the next attempt is due, and another observer's to make, if there is one.
    pub(super) fn awaits_observer(&self) -> bool {
        self.is_due && self.follows
    }

    /// Whether the current pod has ended, as far as is known.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.left_while(), Some(Because::Completion))
    }

    /// What makes the next attempt where nobody watches over the task any more.
    fn take_over(&self) -> String {
        format!("{} attach {} --take-over{}", program(), self.spec.task, self.again)
    }

    /// What was waited for when the last stop was asked for, or is now.
    pub(super) fn left_while(&self) -> Option<&Because> {
        self.left_while.as_ref().or_else(|| self.waits.as_ref().map(|waiting| &waiting.because))
    }

    /// When the current pod came to its node, as far as was seen.
    pub(super) fn assigned_at(&self) -> Option<Time> {
        self.assigned_at
    }

    /// When the total clock ends. `None`: never, or that is not known.
    pub(super) fn total_ends(&self) -> Option<Time> {
        match self.left_while() {
            // The clock that runs may also be one that only an observer stops.
            Some(Because::Program { deadline, .. }) if self.spec.clocks.run.is_none() => *deadline,
            _ => None,
        }
    }

    /// The manifest.
    pub(crate) fn asked(&self) -> Asked<'_> {
        Asked(self.asked.as_ref())
    }

    /// That container was seen to run.
    pub(crate) fn saw(&mut self, container: &str) {
        if !self.spec.template.counts(container) && !self.others.iter().any(|known| known == container) {
            self.others.push(container.to_owned());
        }
    }

    /// The live line. `None`: there is nothing to wait for.
    pub(crate) fn status(&self, now: Time) -> Option<String> {
        let waiting = self.waits.as_ref()?;
        if matches!(waiting.because, Because::Finished | Because::Detached) {
            return None;
        }
        let attempt = if self.attempt > 1 { format!(" · attempt {}", self.attempt) } else { String::new() };
        let what = match self.awaits_observer() {
            true => wait::for_observer(waiting, now),
            false => wait::status(waiting, self.asked(), now),
        };
        Some(format!("{}  {what}{attempt}", self.spec.task))
    }

    /// What the task waits for now.
    pub(crate) fn waits(&mut self, because: &Because, now: Time) {
        match because {
            Because::Queue { gates, .. } => self.gates.clone_from(gates),
            Because::Start { waiting: Some(waiting), .. } => {
                self.waiting = waiting.split_once(": ").map(|(container, _)| container.to_owned());
            }
            _ => {}
        }
        match &mut self.waits {
            Some(known) if std::mem::discriminant(&known.because) == std::mem::discriminant(because) => {
                known.because.clone_from(because);
            }
            waits => *waits = Some(Waiting { because: because.clone(), since: now, killed_at: None }),
        }
    }

    /// kpo deletes the pod: what is waited for now is its end.
    fn is_deleted(&mut self, grace: Duration, now: Time) {
        self.deleting = true;
        let because = Because::Termination { node: self.node.clone() };
        let killed_at = self.node.as_ref().map(|_| now + grace);
        self.waits = Some(Waiting { because, since: now, killed_at });
    }

    /// How an event is told. Nothing: it is not worth a line.
    pub(crate) fn tell(&mut self, event: &Event, now: Time) -> Vec<Line> {
        self.began.get_or_insert(now);
        match event {
            Event::Created { attempt, pod, at_most, backoff, .. } => {
                self.begin(*attempt, pod);
                if self.errand == Errand::Detach {
                    return vec![];
                }
                let what = match backoff {
                    Some(backoff) if !backoff.is_zero() => format!("waits {}, then for a node", span(*backoff)),
                    _ => format!("created {pod}"),
                };
                let of = if *attempt == 1 { format!(" of ≤ {at_most}") } else { String::new() };
                vec![self.header(format!("attempt {attempt}{of}   {what}"))]
            }
            Event::Adopted { attempt, pod, follows, recreates, .. } => {
                self.begin(*attempt, pod);
                (self.follows, self.found) = (*follows, true);
                let more = match (follows, recreates) {
                    (true, _) => "; it is only followed (--take-over would watch over it)",
                    (false, false) if self.errand == Errand::TakeOver => {
                        "; its manifest is not known here, so that it is not run again (give it with -f FILE)"
                    }
                    _ => "",
                };
                vec![self.header(format!("attempt {attempt}   found {pod}{more}"))]
            }
            Event::Ungated { .. } => vec![],
            Event::Assigned { node, .. } => {
                self.node = Some(node.clone());
                self.assigned_at = Some(now);
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
            Event::TakenOver { by } => vec![self.taken_over(&clause(by), now)],
            Event::Disrupting { reason, .. } => {
                self.disrupting = true;
                vec![self.line(now, Tone::Odd, format!("is taken away: {}", reason.sentence()))]
            }
            Event::Ended { verdict, next, .. } => self.ended(verdict, next, now),
            Event::Stopping { stop, because } => {
                self.left_while = Some(because.clone());
                self.stopping(*stop, because, now)
            }
            Event::Deleting { reason, grace_seconds, .. } => {
                self.is_deleted(Duration::from_secs((*grace_seconds).into()), now);
                // That it was the user is said already.
                let why = Some(reason).filter(|reason| **reason != Reason::CancelledByUser);
                let why = why.map(|reason| format!("{}: ", reason.sentence())).unwrap_or_default();
                let pod = self.pod.as_ref().map_or_else(|| "its pod".to_owned(), |pod| format!("pod {pod}"));
                // Without a node it has nothing that could end, and goes at once.
                let grace = self.node.as_ref().map(|_| format!(", with a grace of {grace_seconds} s"));
                let text = format!("{why}deleting {pod}{}", grace.unwrap_or_default());
                vec![self.line(now, Tone::Odd, text)]
            }
            Event::Sight { watching } => self.sight(*watching, now),
            Event::Unwatched { protected, every, message } => vec![self.unwatched(*protected, *every, message, now)],
            // Where that was to stop the task, its end says so.
            Event::Hindered { what: Hindrance::Delete, .. } if self.deleting => vec![],
            Event::Hindered { what: Hindrance::Annotate, .. } if self.errand == Errand::Cancel => vec![],
            Event::Hindered { what, message } => vec![self.hindered(*what, message, now)],
            _ => vec![],
        }
    }

    fn taken_over(&self, by: &str, now: Time) -> Line {
        if self.errand == Errand::Cancel {
            let text = format!("not cancelled from here: another observer ({by}) has taken the task over");
            return self.line(now, Tone::Bad, text);
        }
        let text =
            format!("taken over by another observer ({by}), to go on with it or to cancel it: this process leaves");
        let wait = format!("{} wait {}{}", program(), self.spec.task, self.again);
        self.line(now, Tone::Odd, format!("{text}\n{:OFFSET$}  how it ends is known there: {wait}", ""))
    }

    fn begin(&mut self, attempt: u32, pod: &str) {
        self.attempt = attempt;
        self.pod = Some(pod.to_owned());
        self.node = None;
        self.assigned_at = None;
        (self.disrupting, self.deleting, self.is_due) = (false, false, false);
        self.others.clear();
    }

    /// kpo's own deletions are no wait, and a signed one was told: of any other it is said at once that nobody signed.
    fn unsigned_deletion(&self, now: Time) -> Vec<Line> {
        let text = match (self.disrupting, self.follows) {
            (true, _) => return Vec::new(),
            _ if self.errand == Errand::Cancel => return Vec::new(),
            (false, true) => "is being deleted",
            (false, false) => "is being deleted; nobody signed it so far (no scheduler, autoscaler or node)",
        };
        vec![self.line(now, Tone::Odd, text.to_owned())]
    }

    fn ended(&mut self, verdict: &kpo_core::Verdict, next: &Next, now: Time) -> Vec<Line> {
        self.waits(&Because::Completion, now);
        self.deleting = false;
        self.is_due = matches!(next, Next::Rerun { .. });
        match next {
            // The task's own ending is said once, from its outcome.
            Next::End { why } => {
                self.why_no_rerun = *why;
                Vec::new()
            }
            Next::Rerun { .. } => {
                let (tone, mut text, meaning) = end::attempt_ended(verdict, self.node.as_deref(), &self.others);
                if let Some(meaning) = meaning {
                    let why = |pod: &String| format!("   ({} why {pod}{})", program(), self.again);
                    let ask = self.pod.as_ref().filter(|_| !self.in_lab).map(why);
                    text.push_str(&format!("\n{:OFFSET$}  {meaning}{}", "", ask.unwrap_or_default()));
                }
                if self.follows {
                    let next = "the next attempt is its observer's to make; if nobody watches over it any more";
                    text.push_str(&format!("\n{:OFFSET$}  {next}: {}", "", self.take_over()));
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
        let what = "the cluster cannot be seen; the task goes on, and is looked for";
        self.line(now, Tone::Odd, with_rule(&format!("{what}: {why}")))
    }

    /// What is left behind is said whatever else is not.
    fn hindered(&mut self, what: Hindrance, message: &str, now: Time) -> Line {
        let tone = if matches!(what, Hindrance::Delete | Hindrance::Release) { Tone::Bad } else { Tone::Odd };
        let mut words = hindrance(what);
        if what == Hindrance::Annotate && self.errand == Errand::TakeOver && !self.is_over() {
            self.follows = true;
            words = "it cannot be taken over, and is only followed";
        }
        self.line(now, tone, with_rule(&format!("{words}: {message}")))
    }

    fn is_over(&self) -> bool {
        self.waits.as_ref().is_some_and(|waiting| waiting.because == Because::Completion)
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
            Stop::User if self.follows => return Vec::new(),
            Stop::User if self.errand == Errand::Cancel => "cancelling",
            Stop::User => "cancelling (once more Ctrl-C leaves at once)",
            Stop::Deadline => "its time is up",
            Stop::Shutdown => return Vec::new(),
        };
        let first = match because {
            Because::Creation => {
                ": the API server has yet to answer the create, which is not sent again; a pod that it has made is deleted"
            }
            Because::Unreachable { may_pull: true, .. } => {
                ": its node does not answer, or still pulls its image; the pod goes when that is over, or is removed"
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
            Some((now, began)) => format!("{:>OFFSET$}  {text}", self.offset(now.since(began))),
            None => text,
        }
    }

    /// How far into the task it is. What a task was found with happened before, and nothing is said of when.
    fn offset(&self, since: Duration) -> String {
        /// What is shown as none at all.
        const NONE: Duration = Duration::from_millis(50);
        if self.found && since < NONE { String::new() } else { offset(since) }
    }

    fn header(&self, text: String) -> Line {
        Line { tone: Tone::Plain, text: format!("{}  {text}", self.spec.task) }
    }

    fn line(&self, now: Time, tone: Tone, text: String) -> Line {
        let since = now.since(self.began.unwrap_or(now));
        Line { tone, text: format!("{:>OFFSET$}  {text}", self.offset(since)) }
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
        Hindrance::Release => "kpo's finalizer could not be removed, and holds the pod (kpo sweep removes it)",
        Hindrance::Read => "the pod could not be read",
    }
}
