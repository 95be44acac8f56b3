//! Where watching is forbidden: what happens between two reads is not seen, and a finalizer keeps a pod's last state for the next one.

use super::Task;
use crate::contract::{Command, Event, Reply};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// That watching is forbidden.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unwatched {
    /// The server's words.
    pub message: String,
    /// How often pods are read instead.
    pub every: Duration,
    /// Whether it was said.
    pub said: bool,
}

impl Task {
    pub(super) fn unwatched(&mut self, message: String, every: Duration) {
        self.lose_sight();
        self.state.unwatched.get_or_insert(Unwatched { message, every, said: false });
    }

    /// Puts kpo's finalizer on the pod that nobody watches, if that may be done, and says what is covered then.
    pub(super) fn protect_unwatched(&mut self) {
        if self.state.unwatched.as_ref().is_none_or(|unwatched| unwatched.said) {
            return;
        }
        let current = &self.state.current;
        if current.is_protected() || current.is_terminating() || !self.is_active() {
            return self.say_unwatched();
        }
        if !self.awaits(|command| matches!(command, Command::Protect { .. })) {
            let (name, uid) = (current.name.clone(), current.uid());
            self.command(Command::Protect { name, uid });
        }
    }

    pub(super) fn protected(&mut self, uid: &str, reply: Reply) {
        if self.state.current.ledger.uid() == Some(uid) {
            match reply {
                Reply::Pod(pod) => {
                    // The right is there: the attempts to come carry it from their creation.
                    self.state.spec.protect = true;
                    self.seen(crate::Sight::Present, &pod);
                }
                Reply::NotFound => self.read(),
                _ => {}
            }
        }
        self.say_unwatched();
    }

    fn say_unwatched(&mut self) {
        let protected = self.state.current.is_protected();
        if let Some(unwatched) = &mut self.state.unwatched {
            unwatched.said = true;
            let (message, every) = (unwatched.message.clone(), unwatched.every);
            self.say(Event::Unwatched { protected, every, message });
        }
    }
}
