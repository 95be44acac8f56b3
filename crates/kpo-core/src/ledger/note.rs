//! Adding to a ledger: each thing once, bounded, and what decisions rest on always.

use super::{Absence, Entry, Fact, Ledger};
use crate::marks;
use crate::reason::Reason;
use crate::time::Time;

/// Letters kept of a sentence of the cluster's.
const SENTENCE: usize = 400;

impl Ledger {
    /// Adds a fact, if there is room for one of its kind. Returns its index, or that of its equal.
    pub(super) fn note(&mut self, at: Time, fact: Fact) -> u32 {
        let room = if fact.is_vital() { Self::VITAL } else { Self::ORDINARY };
        if self.entries.len() < room {
            return self.keep(at, fact);
        }
        let equal = self.entries.iter().rposition(|entry| entry.fact == fact);
        index(equal.unwrap_or(self.entries.len() - 1))
    }

    /// Adds a fact of which there is one in an attempt, or one a container.
    pub(super) fn keep(&mut self, at: Time, fact: Fact) -> u32 {
        self.entries.push(Entry { at, fact });
        index(self.entries.len() - 1)
    }

    /// Whether an equal fact is there.
    pub(super) fn knows(&self, fact: &Fact) -> bool {
        self.entries.iter().any(|entry| entry.fact == *fact)
    }

    /// Observation was interrupted.
    pub fn gap(&mut self, now: Time) {
        if !self.in_gap {
            self.in_gap = true;
            self.after_gap = true;
            self.note(now, Fact::GapOpened);
        }
    }

    /// Observation goes on; `gapless`: nothing was missed.
    pub fn covered(&mut self, now: Time, gapless: bool) {
        if self.in_gap || !gapless {
            self.note(now, Fact::GapClosed { missed: !gapless });
        }
        self.in_gap = false;
        self.gapless &= gapless;
    }

    /// A read by name found none, or another UID: `how` says whether its last state had been seen.
    pub fn gone(&mut self, now: Time, how: Absence) {
        if self.gone.is_none() {
            self.gone = Some(how);
            self.doubtful = false;
            self.keep(now, Fact::Gone { how });
        }
    }

    /// Why its observer has said that it is about to delete the pod. `None`: none has.
    pub fn signed(&self) -> Option<Reason> {
        Reason::of_code(self.last.as_ref()?.annotation(marks::STOPPING)?)
    }

    /// A deletion request of ours is sent: what follows is our doing, unless it had ended before.
    pub fn our_delete(&mut self, _now: Time) {
        self.our_delete = true;
    }
}

impl Fact {
    /// Whether decisions rest on facts of this kind. There are only so many different ones of an attempt.
    fn is_vital(&self) -> bool {
        match self {
            Fact::FirstSeen { .. }
            | Fact::Assigned { .. }
            | Fact::DeletionRequested { .. }
            | Fact::ContainerRan { .. } => true,
            Fact::ContainerEnded { .. } | Fact::Phase { .. } | Fact::Gone { .. } => true,
            Fact::Condition { kind, status, .. } => kind.ends_with("Target") && status == "True",
            Fact::Told { reason, .. } => super::told::explains(reason),
            _ => false,
        }
    }
}

fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// A sentence of the cluster's, cut to what is worth keeping.
pub(super) fn sentence(text: &str) -> String {
    match text.char_indices().nth(SENTENCE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
