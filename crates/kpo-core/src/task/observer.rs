//! Who observes: only the one whose mark stands on the pod writes; others follow, or take over.

use super::{State, Task};
use crate::contract::{Command, Event};
use crate::marks;
use serde::{Deserialize, Serialize};

/// Who observes a task. Only the one whose name and epoch stand on the pod writes; all others follow.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observer {
    /// Unique for a process's view of a task (host, process, random).
    pub id: String,
    /// Grows by one with each take-over.
    pub epoch: u64,
    /// Whether it only follows: it writes nothing.
    pub follows: bool,
    /// Whether it is to take over and its mark is not on the pod yet. Until then it follows.
    #[serde(default)]
    pub takes_over: bool,
}

impl Observer {
    /// The observer of a task that it creates itself.
    pub fn first(id: impl Into<String>) -> Self {
        Self { id: id.into(), epoch: 1, follows: false, takes_over: false }
    }

    /// What stands in `kpo.rs/observer`.
    pub fn mark(&self) -> String {
        format!("{}/{}", self.id, self.epoch)
    }

    /// From now on it is the one that writes.
    pub(super) fn take(&mut self) {
        (self.follows, self.takes_over) = (false, false);
    }

    /// Whether a pod with that mark is another observer's, of this one's epoch or a later one.
    pub(super) fn yields_to(&self, mark: &str) -> bool {
        mark != self.mark() && Self::epoch_of(mark) >= self.epoch
    }

    /// The epoch of such a mark; 0 where it cannot be read.
    pub fn epoch_of(mark: &str) -> u64 {
        mark.rsplit_once('/').and_then(|(_, epoch)| epoch.parse().ok()).unwrap_or(0)
    }
}

impl Task {
    /// Writes this observer's mark with the next epoch onto the current pod, if it shall take over and has not asked yet.
    pub(super) fn take_over(&mut self) {
        let observer = &self.state.observer;
        if !observer.takes_over || self.awaits_read() || self.awaits(|c| matches!(c, Command::Annotate { .. })) {
            return;
        }
        let current = &self.state.current;
        self.command(current.annotate_at(Some(current.resource_version()), marks::OBSERVER, observer.mark()));
    }

    /// Whether its mark is on its way to a pod that is there: until then nobody would clean up.
    pub(super) fn is_taking_over(&mut self) -> bool {
        let taking_over = self.state.observer.takes_over && self.state.current.is_there();
        if taking_over {
            self.take_over();
        }
        taking_over
    }

    /// Whether this observer may write: it is no follower. It becomes one as soon as a sight of the pod names another of its own or a later
    /// epoch.
    pub(super) fn is_active(&self) -> bool {
        !self.state.observer.follows
    }

    /// Who sees another observer of its own or a later epoch on the pod has been taken over: from now on it follows. Who was about to take
    /// over comes after that one: of two who try at once each would else believe to be the one. Who sees its own mark has taken over: the
    /// answer to its write may have been lost.
    pub(super) fn yield_to_other_observer(&mut self) {
        let Some(mark) = self.state.mark().map(str::to_owned) else { return };
        let observer = &mut self.state.observer;
        if mark == observer.mark() && observer.takes_over {
            observer.take();
        }
        if !observer.yields_to(&mark) {
            return;
        }
        if observer.takes_over {
            observer.epoch = Observer::epoch_of(&mark).saturating_add(1);
        } else if !observer.follows {
            observer.follows = true;
            self.say(Event::TakenOver { by: mark });
        }
    }

    /// A create of ours was answered with a pod that another observer made, who has been taken over since: from now on it is written to under
    /// our mark alone.
    pub(super) fn claim(&mut self) {
        let observer = &mut self.state.observer;
        let foreign =
            self.state.current.mark().is_some_and(|mark| mark != observer.mark() && !observer.yields_to(mark));
        if foreign && !observer.follows {
            (observer.follows, observer.takes_over) = (true, true);
        }
    }

    /// There is no pod any more to take the task over on: nobody has made the next attempt in all the time in which it was looked for.
    pub(super) fn take_over_unmarked(&mut self) {
        let (blind, observer) = (self.state.blind, &mut self.state.observer);
        if observer.takes_over && !blind && self.state.current.verdict.is_some() {
            observer.take();
        }
    }
}

impl State {
    /// The mark by which another observer may be known: the current pod's; before there is one, that of the newest attempt whose pod is there.
    fn mark(&self) -> Option<&str> {
        match self.current.ledger.uid() {
            Some(_) => self.current.mark(),
            None => self.leaving.iter().rev().find(|leaving| leaving.attempt.is_there())?.attempt.mark(),
        }
    }
}
