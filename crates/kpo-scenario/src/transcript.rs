//! What a run did and said, in order.

use crate::grammar::Deed;
use kpo_core::{Event, Outcome, Stop, Time, marks};
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// One entry of a transcript.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Since the run began.
    pub at: Duration,
    /// Which observer: `a` is the one that created the task, others attached.
    pub observer: String,
    /// What.
    pub what: What,
}

/// What was done or said.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A write, or a read of the pod, that was sent to the API server.
    Sent(Sent),
    /// An event of the task.
    Said(Event),
    /// What it came to.
    Outcome(Box<Outcome>),
    /// Something of a container's log.
    Log(Piece),
    /// What the scenario lets it do.
    Does(Deed),
    /// What else the runner notes: a crash, a lost reply, trouble.
    Runner(String),
}

/// Something of a container's log, as it was handed over.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Which of the observer's lives it was: each reads from the log's beginning.
    pub life: u64,
    /// The pod.
    pub pod: String,
    /// The container; `None`: the task's own.
    pub container: Option<String>,
    /// What.
    pub what: Printed,
}

/// A line, or what stands for some.
#[derive(Clone, Debug, PartialEq)]
pub enum Printed {
    /// A line.
    Line {
        /// Its timestamp.
        at: Time,
        /// It, without its line feed.
        text: String,
    },
    /// A gap, named.
    Gap {
        /// The time of the line before it. `None`: there is none.
        after: Option<Time>,
        /// The time of the line after it. `None`: there is none, or it is not known.
        before: Option<Time>,
        /// Its cause.
        cause: String,
    },
}

/// A request about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// `create`, `read`, `delete`, `ungate`, `protect` and `release` (the finalizer) or `annotate`.
    pub verb: &'static str,
    /// The pod.
    pub pod: String,
    /// Of a create: whether it starts behind kpo's gate.
    pub gated: bool,
    /// Of a create: whether it carries kpo's finalizer.
    pub protected: bool,
    /// Of a create or an annotate: `activeDeadlineSeconds`.
    pub deadline: Option<u64>,
    /// Of an annotate: how long from then on the pod is kept.
    pub expires: Option<Duration>,
    /// Of a create: the nodes it avoids.
    pub avoids: Vec<String>,
    /// Of a delete: whether it names UID and resourceVersion.
    pub fenced: bool,
}

impl Sent {
    /// A request without particulars.
    pub fn new(verb: &'static str, pod: &str) -> Self {
        Self {
            verb,
            pod: pod.to_owned(),
            gated: false,
            protected: false,
            deadline: None,
            expires: None,
            avoids: Vec::new(),
            fenced: true,
        }
    }

    /// Reads it off a request at a moment: its method, the pod in its path (empty for a create), its body. `None`: it is about no pod.
    pub fn of(now: Time, method: &str, pod: &str, body: &Value) -> Option<Self> {
        match (method, pod) {
            ("POST", "") => Some(Self::create(body)),
            ("GET", pod) if !pod.is_empty() => Some(Self::new("read", pod)),
            ("DELETE", pod) if !pod.is_empty() => {
                let has = |key: &str| body["preconditions"][key].as_str().is_some_and(|text| !text.is_empty());
                Some(Self { fenced: has("uid") && has("resourceVersion"), ..Self::new("delete", pod) })
            }
            ("PATCH", pod) if !body["spec"]["schedulingGates"].is_null() => Some(Self::new("ungate", pod)),
            ("PATCH", pod) if !body["metadata"]["$deleteFromPrimitiveList/finalizers"].is_null() => {
                Some(Self::new("release", pod))
            }
            ("PATCH", pod) if !body["metadata"]["finalizers"].is_null() => Some(Self::new("protect", pod)),
            ("PATCH", pod) => {
                let expires = body["metadata"]["annotations"][marks::EXPIRES].as_str().and_then(Time::parse);
                let deadline = body["spec"]["activeDeadlineSeconds"].as_u64();
                Some(Self { deadline, expires: expires.map(|at| at.since(now)), ..Self::new("annotate", pod) })
            }
            _ => None,
        }
    }

    fn create(body: &Value) -> Self {
        let has = |list: &Value, is: &dyn Fn(&Value) -> bool| list.as_array().is_some_and(|list| list.iter().any(is));
        let terms = &body["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"];
        let avoided = |term: &Value| {
            let expression = &term["preference"]["matchExpressions"][0];
            let values = expression["values"].as_array().filter(|_| expression["operator"] == "NotIn");
            values.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        Self {
            gated: has(&body["spec"]["schedulingGates"], &|gate| gate["name"] == marks::GATE),
            protected: has(&body["metadata"]["finalizers"], &|name| name == marks::FINALIZER),
            deadline: body["spec"]["activeDeadlineSeconds"].as_u64(),
            avoids: terms.as_array().into_iter().flatten().flat_map(avoided).collect(),
            ..Self::new("create", body["metadata"]["name"].as_str().unwrap_or_default())
        }
    }

    /// Whether it changes something.
    pub fn is_write(&self) -> bool {
        self.verb != "read"
    }
}

/// As a scenario has it: `create t-2 gated`.
impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.pod)?;
        if self.gated {
            f.write_str(" gated")?;
        }
        if self.protected {
            f.write_str(" protected")?;
        }
        if let Some(seconds) = self.deadline {
            write!(f, " deadline {seconds}s")?;
        }
        if let Some(lifetime) = self.expires {
            write!(f, " expiring in {lifetime:?}")?;
        }
        if !self.avoids.is_empty() {
            write!(f, " avoiding {}", self.avoids.join(" "))?;
        }
        if !self.fenced {
            f.write_str(" WITHOUT PRECONDITIONS")?;
        }
        Ok(())
    }
}

/// Characters of a line that are shown.
const SHOWN: usize = 80;

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12.3}s {} ", self.at.as_secs_f64(), self.observer)?;
        match &self.what {
            What::Sent(sent) => write!(f, "sends {sent}"),
            What::Said(event) => write!(f, "says {}", said(event)),
            What::Outcome(outcome) => write!(
                f,
                "outcome {} exit {} reason {}",
                outcome.verdict.as_deref().unwrap_or("none"),
                outcome.exit_code.map_or("none".to_owned(), |code| code.to_string()),
                outcome.reason.map_or("none", kpo_core::Reason::code),
            ),
            What::Log(piece) => {
                let container = piece.container.as_ref().map(|name| format!("{name} ")).unwrap_or_default();
                match &piece.what {
                    Printed::Line { text, .. } => {
                        let shown: String = text.chars().take(SHOWN).collect();
                        write!(f, "prints {container}{shown:?}{}", if shown.len() < text.len() { " …" } else { "" })
                    }
                    Printed::Gap { after, before, cause } => {
                        write!(f, "prints {container}gap from {after:?} to {before:?}: {cause}")
                    }
                }
            }
            What::Does(deed) => write!(f, "-- {}", deed.name()),
            What::Runner(text) => write!(f, "-- {text}"),
        }
    }
}

/// An event as a scenario names it: a word, the attempt, and what matters most of it.
pub(crate) fn said(event: &Event) -> String {
    match event {
        Event::Created { attempt, .. } => format!("created {attempt}"),
        Event::Adopted { attempt, follows: true, .. } => format!("adopted {attempt} following"),
        Event::Adopted { attempt, .. } => format!("adopted {attempt}"),
        Event::Ungated { attempt } => format!("ungated {attempt}"),
        Event::Assigned { attempt, node } => format!("assigned {attempt} {node}"),
        Event::Waiting { attempt, because } => format!("waiting {attempt} {}", crate::expect::because(because)),
        Event::Running { attempt, .. } => format!("running {attempt}"),
        Event::Disrupting { attempt, reason, .. } => format!("disrupting {attempt} {}", reason.code()),
        Event::Ended { attempt, verdict, next } => {
            format!("ended {attempt} {}, then {}", crate::expect::verdict(verdict), crate::expect::next(next))
        }
        Event::Stopping { stop: Stop::User, .. } => "stopping user".to_owned(),
        Event::Stopping { stop: Stop::Deadline, .. } => "stopping deadline".to_owned(),
        Event::Stopping { stop: Stop::Shutdown, .. } => "stopping shutdown".to_owned(),
        Event::Deleting { attempt, reason, .. } => format!("deleting {attempt} {}", reason.code()),
        Event::TakenOver { .. } => "taken-over".to_owned(),
        Event::Sight { watching: true } => "sight regained".to_owned(),
        Event::Sight { watching: false } => "sight lost".to_owned(),
        Event::Hindered { what, message } => format!("hindered {what:?}: {message}").to_lowercase(),
        Event::Finished => "finished".to_owned(),
        other => format!("{other:?}"),
    }
}
