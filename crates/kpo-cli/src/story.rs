//! The lines that the command line says of a task, for who embeds the engine.

use crate::render::{self, Log, Teller};
use crate::session::{Errand, LogView, Note};
use kpo::driver::{Running, What};
use kpo_core::{Outcome, Spec, Time};

/// What a process is to a task that it tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It runs it.
    Runs,
    /// It goes on with it as its observer.
    TakesOver,
    /// It shows what it does.
    Follows,
}

/// Tells a task's story: each event in the words of the command line.
pub struct Story {
    spec: Spec,
    teller: Teller,
    logs: LogView,
}

impl Story {
    /// Of a task under way.
    pub fn new(running: &Running, role: Role) -> Self {
        let errand = match role {
            Role::Runs => Errand::Run,
            Role::TakesOver => Errand::TakeOver,
            Role::Follows => Errand::Follow,
        };
        let spec = running.spec().clone();
        let asked = running.template().map(kpo::body::Template::manifest);
        let teller = Teller::new(&spec, asked, false, errand);
        Self { teller, logs: LogView::new(&spec.template.container, None), spec }
    }

    /// The lines that an event is worth, the log's own apart. Of the outcome see [`end`](Self::end).
    pub fn tell(&mut self, at: Time, what: &What) -> Vec<String> {
        match what {
            What::Task(told) => self.teller.tell(told, at).into_iter().map(|line| line.text).collect(),
            What::Ran(container) => {
                self.teller.saw(container);
                Vec::new()
            }
            What::Log(piece) => match self.logs.note(piece) {
                Some(Note::Say(text)) => vec![self.teller.stamped(text, Some(at))],
                Some(Note::Detail(_)) | None => Vec::new(),
            },
            What::Admitted(costs) => {
                let text = |cost: &String| format!("admission changed the pod: {}", render::clause(cost));
                costs.iter().map(|cost| self.teller.stamped(text(cost), Some(at))).collect()
            }
            What::ResultLimit(bytes) => vec![self.teller.stamped(render::result_limit(*bytes), Some(at))],
            What::Trouble(why) => vec![self.teller.trouble(why, at).text],
            What::Crashed(why) => vec![format!("kpo failed (a bug): {}; the pod may be left", render::clause(why))],
            _ => Vec::new(),
        }
    }

    /// How it ended, and what to do; as one line it is put into the outcome, too.
    pub fn end(&self, at: Time, outcome: &mut Outcome) -> Vec<String> {
        let last = self.logs.last_line();
        let known = self.teller.known(last.as_deref(), Log::Shown);
        let ending = render::ending(outcome, known);
        let kept = render::kept(outcome, &self.spec, at);
        outcome.message = render::one_line(outcome, known);
        let next = ending.next.into_iter().chain(kept).map(|next| format!("  {next}"));
        std::iter::once(self.teller.stamped(ending.line, Some(at))).chain(next).collect()
    }
}
