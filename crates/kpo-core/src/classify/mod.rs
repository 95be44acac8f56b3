//! From a ledger to a verdict.
//!
//! [`verdict`] reads top-down: what its own container said of itself, our own delete, what the phase says, what the conditions and
//! events say, what the containers say, and last that it is gone. The first that speaks decides. Whether the program ran is a question
//! apart, answered in `proof.rs`.

mod cause;
mod evidence;
mod launch;
mod proof;
mod refusal;

pub use launch::{fatal, hindrance};
pub use refusal::{Refused, refusal};

use crate::ledger::{Absence, End, Fact, Ledger};
use crate::pod::{ContainerStatus, Phase, Pod};
use crate::reason::Reason;
use crate::spec::{ExitZeroAfterTerm, Spec, Template};
use crate::verdict::{Cause, Class, Started, Verdict};
use cause::Disruption;
use proof::Life;

/// What became of an ended attempt of a task. `None` while it lives.
///
/// After our own delete the class is [`Class::Cancelled`] with [`Reason::CancelledByUser`], unless it had ended before;
/// the caller knows why it deleted. Run again once events were told: they may sign a deletion, name a preemptor, or bar *never*.
pub fn verdict(ledger: &Ledger, spec: &Spec) -> Option<Verdict> {
    judge(ledger, &spec.template, spec.exit_zero_after_term)
}

/// The same for a pod without a spec of ours (`kpo why`).
pub fn judge(ledger: &Ledger, template: &Template, exit_zero_after_term: ExitZeroAfterTerm) -> Option<Verdict> {
    if !ledger.is_over() && !ledger.own_is_over(template) {
        return None;
    }
    let case = Case { ledger, template, exit_zero_after_term };
    Some(case.verdict())
}

/// Whether no process of the attempt can be alive any more.
pub fn is_stopped(ledger: &Ledger, template: &Template) -> bool {
    proof::is_stopped(ledger, proof::life(ledger, template))
}

/// Its node does not answer, and the user said that it may be replaced all the same.
pub fn unreachable(ledger: &Ledger, template: &Template) -> Verdict {
    let life = proof::life(ledger, template);
    let class = Class::Disrupted { cause: Cause::Unreachable, started: life.started() };
    let evidence = evidence::of(ledger, template, &class, &life);
    let proof = life.proof();
    Verdict { class, reason: Reason::Unreachable, exit_code: None, proof, detail: None, stopped: false, evidence }
}

/// Somebody takes it away, and it has not ended yet: by what, and in the cluster's words.
pub fn disrupting(ledger: &Ledger) -> Option<(Reason, Option<String>)> {
    let pod = ledger.last.as_ref().filter(|_| !ledger.is_over())?;
    let signed = cause::by_condition(ledger).or_else(|| cause::by_event(ledger).filter(|_| pod.is_terminating()));
    signed.map(|disruption| (disruption.reason(), disruption.words(ledger)))
}

/// A ledger and how it is to be read.
#[derive(Clone, Copy)]
struct Case<'a> {
    ledger: &'a Ledger,
    template: &'a Template,
    exit_zero_after_term: ExitZeroAfterTerm,
}

/// What was found, before proof and evidence are added.
enum Finding {
    /// The program ended by itself, or could not be launched; in whose words, if in any.
    Itself(Class, Reason, Option<String>),
    /// It was taken away.
    Taken(Disruption),
}

impl Case<'_> {
    fn verdict(&self) -> Verdict {
        let life = proof::life(self.ledger, self.template);
        let finding = self.finding();
        let (class, reason, detail) = match &finding {
            Finding::Itself(class, reason, detail) => (class.clone(), *reason, detail.clone()),
            Finding::Taken(by) => {
                (Class::Disrupted { cause: by.cause, started: life.started() }, by.reason(), by.words(self.ledger))
            }
        };
        let disrupted = matches!(class, Class::Disrupted { .. });
        Verdict {
            reason,
            exit_code: self.own_end().filter(|end| end.located).map(|end| end.exit_code),
            proof: life.proof().filter(|_| disrupted),
            detail,
            stopped: proof::is_stopped(self.ledger, life),
            evidence: evidence::of(self.ledger, self.template, &class, &life),
            class,
        }
    }

    fn finding(&self) -> Finding {
        self.success()
            .or_else(|| self.cancelled())
            .or_else(|| self.said_by_phase())
            .or_else(|| self.taken_before_the_end())
            .or_else(|| self.own_failure())
            .or_else(|| self.init_failure())
            .or_else(|| self.lost_by_node())
            .unwrap_or_else(|| self.unexplained())
    }

    fn own_end(&self) -> Option<&End> {
        self.ledger.own_end(self.template)
    }

    /// An exit 0 is a success, whatever else happened to the pod.
    fn success(&self) -> Option<Finding> {
        let zero = self.own_end().is_some_and(|end| end.located && end.exit_code == 0);
        let phase = self.own_end().is_none() && self.terminal_phase() == Some(Phase::Succeeded);
        if !(zero || phase) || self.cancelled().is_some() {
            return None;
        }
        let Some(stopped) = self.said_by_phase().or_else(|| self.taken().map(Finding::Taken)) else {
            return Some(Finding::Itself(Class::Succeeded, Reason::Succeeded, None));
        };
        if self.exit_zero_after_term == ExitZeroAfterTerm::Disrupted {
            return Some(stopped);
        }
        let words = match stopped {
            Finding::Itself(_, _, words) => words,
            Finding::Taken(by) => by.words(self.ledger),
        };
        Some(Finding::Itself(Class::Succeeded, Reason::SucceededWhileTerminating, words))
    }

    /// After our own delete, or one that another observer has signed; nobody else took it away.
    fn cancelled(&self) -> Option<Finding> {
        if self.ended_before_deletion() {
            return None;
        }
        let signed = self.ledger.signed().filter(|_| self.ledger.deletion().is_some());
        let theirs = signed.filter(|_| cause::by_condition(self.ledger).is_none());
        let ours = self.ledger.our_delete.then(|| signed.unwrap_or(Reason::CancelledByUser));
        ours.or(theirs).map(|reason| Finding::Itself(class_of_stop(reason), reason, None))
    }

    /// What the kubelet wrote beside the terminal phase. It wrote it over the container's own end where a restarted kubelet
    /// refused a pod that had ended before: then the container's word stands. What ran on is killed by it, and that is no word of the container's.
    fn said_by_phase(&self) -> Option<Finding> {
        let (reason, message) = self.terminal_words().filter(|_| !self.ended_before_phase())?;
        if self.limit_exceeded(reason, message) {
            return Some(Finding::Itself(Class::Failed, Reason::StorageExceeded, Some(message.to_owned())));
        }
        if reason == "DeadlineExceeded" {
            return Some(Finding::Itself(Class::Failed, Reason::DeadlineExceeded, Some(message.to_owned())));
        }
        let by = cause::by_phase(reason, message)?;
        let ended_before = by.is_rejection() && self.own_end().is_some_and(|end| end.located && !end.may_be_killed());
        (!ended_before).then_some(Finding::Taken(by))
    }

    /// Local storage beyond its own limits: the user's fault, though it is called an eviction
    /// (`pkg/kubelet/eviction/helpers.go`: `emptyDirMessageFmt`, `podEphemeralStorageMessageFmt`, `containerEphemeralStorageMessageFmt`).
    fn limit_exceeded(&self, reason: &str, message: &str) -> bool {
        let own = ["Usage of EmptyDir volume", "Pod ephemeral local storage usage exceeds"];
        let limit = "exceeded its local ephemeral storage limit";
        reason == "Evicted" && (own.iter().any(|start| message.starts_with(start)) || message.contains(limit))
    }

    /// Somebody took it away before its program had ended by itself.
    fn taken_before_the_end(&self) -> Option<Finding> {
        self.taken().filter(|_| !self.is_out_of_memory()).map(Finding::Taken)
    }

    /// By whom it was taken away before its program ended. `None`: by nobody.
    fn taken(&self) -> Option<Disruption> {
        if self.ended_before_phase() {
            return None;
        }
        let phase = self.terminal_words().and_then(|(reason, message)| cause::by_phase(reason, message));
        if let Some(by) = phase.filter(|by| !by.is_rejection()) {
            return Some(by);
        }
        // Who disrupts by deleting, deletes: without a request the condition is stale, or came too late.
        let deleted = (self.ledger.deletion().is_some() || self.ledger.gone.is_some()) && !self.ended_before_deletion();
        let condition = cause::by_condition(self.ledger).filter(|by| deleted || !by.deletes());
        let signed = condition.or_else(|| deleted.then(|| cause::by_event(self.ledger)).flatten());
        signed.or_else(|| cause::by_controller(self.ledger)).or_else(|| self.unsigned().filter(|_| deleted))
    }

    /// A deletion that nobody signed.
    fn unsigned(&self) -> Option<Disruption> {
        let unsigned = self.ledger.deletion().is_some() && !self.failed_and_was_cleaned_up();
        unsigned.then(|| Disruption::of(Cause::DeletedOutside))
    }

    fn is_out_of_memory(&self) -> bool {
        self.own_end().is_some_and(|end| end.reason.as_deref() == Some("OOMKilled"))
    }

    /// Its own container ended otherwise than with 0.
    fn own_failure(&self) -> Option<Finding> {
        let end = self.own_end().filter(|end| end.located && !end.is_lost())?;
        let message = || self.last_message(self.ledger.own(self.template));
        Some(if end.is_start_error() {
            Finding::Itself(Class::LaunchFailed, Reason::StartError, message())
        } else if self.is_out_of_memory() {
            Finding::Itself(Class::Failed, Reason::OutOfMemory, None)
        } else {
            Finding::Itself(Class::Failed, Reason::ProgramFailed, None)
        })
    }

    /// An init container failed, and the program did not run.
    fn init_failure(&self) -> Option<Finding> {
        let pod = self.ledger.last.as_ref()?;
        let sidecar = |name: &str| pod.spec.init_containers.iter().any(|c| c.name == name && c.is_sidecar());
        let init = |name: &str| pod.spec.init_containers.iter().any(|c| c.name == name) && !sidecar(name);
        let failed = |(name, end): &(&String, &End)| init(name) && end.located && end.exit_code != 0 && !end.is_lost();
        let (name, end) = self.ledger.ends.iter().find(failed)?;
        let word = end.reason.as_deref().unwrap_or("Error");
        if end.is_start_error() {
            return Some(Finding::Itself(Class::LaunchFailed, Reason::StartError, self.last_message(name)));
        }
        let detail = format!("init container {name}: {word}, exit code {}", end.exit_code);
        Some(Finding::Itself(Class::Failed, Reason::InitFailed, Some(detail)))
    }

    /// The node was rebooted, or its runtime lost the containers.
    fn lost_by_node(&self) -> Option<Finding> {
        let lost = self.ledger.ends.values().any(|end| end.is_lost() || !end.located);
        lost.then_some(Finding::Taken(Disruption::of(Cause::NodeReboot)))
    }

    fn unexplained(&self) -> Finding {
        if self.ledger.gone == Some(Absence::Unobserved) && self.ledger.terminal.is_none() {
            return Finding::Taken(Disruption::of(Cause::Vanished));
        }
        Finding::Taken(Disruption::of(Cause::Other))
    }

    /// Whether the program had ended before deletion was requested: as it was seen, or by the clocks of node and API server.
    fn ended_before_deletion(&self) -> bool {
        let ends = [self.own_end().map(|end| end.entry), self.ledger.terminal];
        let Some(end) = ends.into_iter().flatten().min() else { return false };
        self.ledger.deletion().is_none_or(|deletion| end < deletion) || self.finished_before_request()
    }

    fn finished_before_request(&self) -> bool {
        let finished = self.own_end().and_then(|end| end.finished);
        let requested = self.ledger.last.as_ref().and_then(Pod::deletion_requested_at);
        matches!((finished, requested), (Some(finished), Some(requested)) if finished < requested)
    }

    /// Whether the end of its own container stood for so long that what the phase says later is not about it: a sidecar that ran on was
    /// evicted, or a restarted kubelet refused what had ended before.
    fn ended_before_phase(&self) -> bool {
        let at = |entry: u32| self.ledger.entries.get(entry as usize).map(|entry| entry.at);
        let settled = self.ledger.settles_at(self.template);
        let terminal = self.ledger.terminal.filter(|terminal| self.own_end().is_some_and(|end| end.entry < *terminal));
        matches!((settled, terminal.and_then(at)), (Some(settled), Some(terminal)) if settled < terminal)
    }

    /// Whether end and deletion request were first seen at once, and the program ended with a code of its own: then a deletion
    /// that nobody signed is taken to have cleaned up what had failed.
    fn failed_and_was_cleaned_up(&self) -> bool {
        let Some(end) = self.own_end().filter(|end| end.located && (1..128).contains(&end.exit_code)) else {
            return false;
        };
        let at = |entry: u32| self.ledger.entries.get(entry as usize).map(|entry| entry.at);
        self.ledger.deletion().is_some_and(|deletion| at(deletion) == at(end.entry))
    }

    fn terminal_phase(&self) -> Option<Phase> {
        self.terminal_fact().map(|(phase, _, _)| phase)
    }

    /// Reason and message of the first terminal phase.
    fn terminal_words(&self) -> Option<(&str, &str)> {
        let (_, reason, message) = self.terminal_fact()?;
        Some((reason?, message.unwrap_or_default()))
    }

    fn terminal_fact(&self) -> Option<(Phase, Option<&str>, Option<&str>)> {
        match self.ledger.fact(self.ledger.terminal?)? {
            Fact::Phase { phase, reason, message, .. } => Some((*phase, reason.as_deref(), message.as_deref())),
            _ => None,
        }
    }

    /// What the runtime said of a container that it could not start.
    fn last_message(&self, container: &str) -> Option<String> {
        let status: &ContainerStatus = self.ledger.last.as_ref()?.status_of(container)?;
        status.state.terminated.as_ref()?.message.clone()
    }
}

/// What an attempt is that an observer has deleted for that reason.
pub(crate) fn class_of_stop(reason: Reason) -> Class {
    match reason {
        Reason::StartedAfterAll => Class::Disrupted { cause: Cause::Other, started: Started::Unknown },
        reason if reason.is_launch_failure() => Class::LaunchFailed,
        _ => Class::Cancelled,
    }
}

impl Life {
    fn started(&self) -> Started {
        match self {
            Life::Never(_) => Started::Never,
            Life::Started => Started::Started,
            Life::Unknown => Started::Unknown,
        }
    }
}
