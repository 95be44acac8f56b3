//! Follows a task that is under way: its story, its logs, its end, and signals.

mod logs;
#[cfg(test)]
mod tests;

use crate::commands::{Output, OutputArgs};
use crate::error::{CliError, ErrorKind};
use crate::labs::Refusals;
use crate::printer::{Flushed, Printer, SOON, Tone};
use crate::render::{self, Known, Leaving, Log, Teller};
use crate::retries::Retries;
use crate::signals::{Caught, Signals};
use kpo::driver::{Delivery, Event, Running, What};
use kpo_core::reason::exit;
use kpo_core::{Hindrance, Outcome, Reason, Spec, Stop, Time};
pub(crate) use logs::{LogView, Note, error_line};
use serde::Serialize;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// The live line changes this often.
const TICK: Duration = Duration::from_millis(500);

/// What the command is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// To run the task to its end.
    Run,
    /// To create its pod, and leave.
    Detach,
    /// To go on with it as its observer.
    TakeOver,
    /// To show what it does.
    Follow,
    /// To wait for its end.
    Wait,
    /// To end it.
    Cancel,
}

impl Errand {
    /// Whether kpo watches over the task meanwhile: then leaving leaves something behind.
    fn watches_over(self) -> bool {
        !matches!(self, Errand::Follow | Errand::Wait)
    }

    fn shows_logs(self) -> bool {
        matches!(self, Errand::Run | Errand::TakeOver | Errand::Follow)
    }
}

/// What is followed, and how it is shown.
pub(crate) struct Session {
    /// What for.
    pub(crate) errand: Errand,
    /// The cluster is a lab of this process's, and ends with it, and the pod too: what of its script comes to nothing.
    pub(crate) lab: Option<Refusals>,
    /// What is appended to a command that goes on with it: ` -n batch --context prod`.
    pub(crate) again: String,
}

impl Session {
    /// Follows the task to its end, or until a signal makes this process leave; a signal before that asks it to stop. What the process exits
    /// with comes back.
    pub(crate) async fn follow(
        self,
        running: Running,
        printer: Printer,
        output: &OutputArgs,
        (signals, retries): (Signals, Retries),
    ) -> Result<i32, CliError> {
        let spec = running.spec().clone();
        let asked = running.template().map(kpo::body::Template::manifest);
        let follower = Follower {
            logs: LogView::new(&spec.template.container, output.output),
            teller: Teller::new(&spec, asked, self.lab.is_some(), self.errand).with_again(&self.again),
            spec,
            session: self,
            printer,
            form: output.output,
            is_quiet: output.quiet,
            signals,
            retries,
            last: None,
            caught: None,
            delivering: None,
            ended: None,
            refused: None,
            admitted: Vec::new(),
            result_limit: None,
        };
        follower.run(running).await
    }
}

/// How it came to its end here.
enum Ended {
    /// The task has ended.
    Outcome(Box<Outcome>),
    /// Its pod was created, and that was all.
    Detached,
    /// Another observer has taken it over: how it ends is known there.
    TakenOver,
    /// The task has ended, but that could not be written: its pod stays.
    Untaken,
    /// The driver has failed.
    Crashed(String),
}

/// An outcome that is being printed.
struct Delivering {
    delivery: Delivery,
    /// As it was printed.
    outcome: Outcome,
    out: Flushed,
}

struct Follower {
    session: Session,
    spec: Spec,
    printer: Printer,
    form: Option<Output>,
    /// Whether the end is the only line, and has to name the task.
    is_quiet: bool,
    teller: Teller,
    logs: LogView,
    signals: Signals,
    retries: Retries,
    /// The last event's time, and when it came: the live line's clock goes on from there.
    last: Option<(Time, Instant)>,
    caught: Option<Caught>,
    delivering: Option<Delivering>,
    ended: Option<Ended>,
    /// Why it cannot be taken over, in the server's words.
    refused: Option<String>,
    /// What admission changed of the pod that was admitted last, until it is said.
    admitted: Vec<String>,
    /// The most that a result may have, of the pod that was admitted last, and whether it was said.
    result_limit: Option<(usize, bool)>,
}

impl Follower {
    async fn run(mut self, running: Running) -> Result<i32, CliError> {
        let done = self.follow(running).await;
        self.printer.end_status();
        let is_out = self.bring_out().await;
        let lost = self.printer.has_lost_output();
        if is_out {
            self.printer.finish().await
        } else {
            self.printer.abandon()
        }
        done.map(|code| if lost { exit::OWN } else { code })
    }

    async fn follow(&mut self, mut running: Running) -> Result<i32, CliError> {
        let stopper = running.stopper();
        if self.session.errand == Errand::Cancel {
            stopper.stop(Stop::User);
        }
        let mut tick = tokio::time::interval(TICK);
        loop {
            let leaving = self.is_leaving();
            tokio::select! {
                event = next(&mut running, &self.printer, leaving) => match event {
                    Some(event) => {
                        self.take(event)?;
                        if matches!(self.ended, Some(Ended::TakenOver | Ended::Detached)) {
                            stopper.stop(Stop::Shutdown);
                        }
                    }
                    None => break,
                },
                () = is_out(&mut self.delivering) => {
                    self.delivered();
                    if matches!(self.ended, Some(Ended::Untaken)) {
                        stopper.stop(Stop::Shutdown);
                    }
                }
                caught = self.signals.next() => {
                    // Of who cancels already nothing more can be asked.
                    if self.caught.is_some() || self.session.errand == Errand::Cancel {
                        self.leave_at_once(caught).await;
                    }
                    self.caught = Some(caught);
                    stopper.stop(caught.stop);
                }
                retry = self.retries.next() => {
                    if let Some(line) = self.teller.retry(&retry, self.now()) {
                        self.printer.say(line.tone, line.text);
                    }
                }
                why = in_vain(&mut self.session.lab) => self.printer.say(Tone::Odd, why),
                _ = tick.tick() => self.draw(),
            }
        }
        self.exit().await
    }

    /// Whether its end here was told of.
    fn is_over(&self) -> bool {
        self.ended.is_some() || self.delivering.is_some()
    }

    /// Whether this process goes, and the task goes on.
    fn is_leaving(&self) -> bool {
        self.caught.is_some_and(|caught| caught.stop == Stop::Shutdown || !self.session.errand.watches_over())
    }

    /// Whether all that was said is out. A signal, and who leaves, waits for nobody who does not read.
    async fn bring_out(&mut self) -> bool {
        let leaving = self.is_leaving();
        tokio::select! {
            biased;
            () = self.printer.flush() => true,
            _ = self.signals.next() => false,
            () = tokio::time::sleep(SOON), if leaving => false,
        }
    }

    fn take(&mut self, event: Event) -> Result<(), CliError> {
        self.last = Some((event.at, Instant::now()));
        match event.what {
            What::Task(told) => self.told(&told, event.at)?,
            // The answer to the create comes before the event that tells of the pod.
            What::Admitted(costs) => self.admitted = costs,
            What::ResultLimit(bytes) => {
                let said = self.result_limit == Some((bytes, true));
                self.result_limit = Some((bytes, said));
            }
            What::Ran(container) => self.teller.saw(&container),
            // Without room: see `next`. Who attaches reads it from the start.
            What::Log(piece) if self.session.errand.shows_logs() && self.printer.has_room() => {
                let said = self.logs.print(&self.printer, &self.spec.task, event.at, &piece);
                if let Some(text) = said {
                    self.printer.say(Tone::Odd, self.teller.stamped(text, Some(event.at)));
                }
            }
            // What is left to be done after the end is told of where it cannot be done.
            What::Trouble(why) if !self.is_over() => {
                let line = self.teller.trouble(&why, event.at);
                self.printer.say(line.tone, line.text);
            }
            What::Outcome(delivery) => self.end(delivery)?,
            What::Crashed(why) => self.ended = Some(Ended::Crashed(why)),
            _ => {}
        }
        Ok(())
    }

    fn told(&mut self, told: &kpo_core::Event, at: Time) -> Result<(), CliError> {
        if self.form == Some(Output::Events) {
            self.json_line(at, told);
        }
        for line in self.teller.tell(told, at) {
            self.printer.say(line.tone, line.text);
        }
        match told {
            kpo_core::Event::TakenOver { .. } => self.ended = Some(Ended::TakenOver),
            kpo_core::Event::Hindered { what: Hindrance::Annotate, message } => self.refused = Some(message.clone()),
            kpo_core::Event::Created { pod, .. } if self.session.errand == Errand::Detach => self.detach(pod)?,
            _ => {}
        }
        self.say_admitted(at);
        self.say_result_limit(at);
        self.draw();
        Ok(())
    }

    /// The pod is there: its task's id is printed, and that is all.
    fn detach(&mut self, pod: &str) -> Result<(), CliError> {
        self.ended = Some(Ended::Detached);
        let (task, namespace) = (&self.spec.task, &self.spec.namespace);
        match self.form.map(Output::object) {
            None => self.printer.data(format!("{task}\n").into_bytes()),
            Some(Some(form)) => {
                let created = json!({"apiVersion": "kpo.rs/v1", "kind": "Task", "task": task, "namespace": namespace, "pod": pod});
                self.printer.data(form.text(&created)?.into_bytes());
            }
            Some(None) => {}
        }
        let attach = format!("{} attach {task} --take-over{}", render::program(), self.session.again);
        let end = self.teller.end_by_itself(Time::default());
        self.printer.say(Tone::Plain, format!("{pod} was created; {end}."));
        self.printer.say(Tone::Plain, format!("  Nobody watches over it, and nothing runs it again: {attach}"));
        Ok(())
    }

    fn say_admitted(&mut self, at: Time) {
        let costs = std::mem::take(&mut self.admitted);
        if costs.is_empty() {
            return;
        }
        if self.form == Some(Output::Events) {
            self.json_line(at, json!({"event": "admitted", "changes": costs}));
        }
        for cost in costs {
            let text = format!("admission changed the pod: {}", render::clause(&cost));
            self.printer.say(Tone::Odd, self.teller.stamped(text, Some(at)));
        }
    }

    fn say_result_limit(&mut self, at: Time) {
        let Some((bytes, said @ false)) = &mut self.result_limit else { return };
        *said = true;
        let bytes = *bytes;
        if self.form == Some(Output::Events) {
            self.json_line(at, json!({"event": "resultLimit", "bytes": bytes}));
        }
        self.printer.say(Tone::Plain, self.teller.stamped(render::result_limit(bytes), Some(at)));
    }

    // --- the end ----------------------------------------------------------------------------------------------------------------------

    /// Says how it ended. Only when that is out may anything be deleted.
    fn end(&mut self, delivery: Delivery) -> Result<(), CliError> {
        self.printer.end_status();
        let last = self.logs.last_line();
        let mut outcome = delivery.outcome().clone();
        let known = self.known(last.as_deref());
        let ending = render::ending(&outcome, known);
        outcome.message = render::one_line(&outcome, known);
        let whose = if self.is_quiet { format!("{}: ", self.spec.task) } else { String::new() };
        let line = self.teller.stamped(format!("{whose}{}", ending.line), self.last.map(|(at, _)| at));
        self.printer.say(ending.tone, line);
        for next in ending.next.into_iter().chain(self.kept(&outcome)) {
            self.printer.say(Tone::Plain, format!("  {next}"));
        }
        for line in render::evidence(&outcome) {
            self.printer.detail(line);
        }
        match self.form {
            Some(form) => self.outcome(form, &outcome)?,
            None => self.result(&outcome),
        }
        let out = self.printer.flush();
        self.delivering = Some(Delivering { delivery, outcome, out });
        Ok(())
    }

    /// It is out; or is lost, and then not taken: pods stay.
    fn delivered(&mut self) {
        let Some(Delivering { delivery, outcome, .. }) = self.delivering.take() else { return };
        if self.form.is_some() && self.printer.has_lost_output() {
            self.ended = Some(Ended::Untaken);
            let attach = format!("{} attach {} --take-over{}", render::program(), self.spec.task, self.session.again);
            let again = if self.leaves_something() { format!(": {attach}") } else { String::new() };
            return self
                .printer
                .must_say(Tone::Bad, format!("the outcome was not taken, and nothing is cleaned up{again}"));
        }
        delivery.taken();
        self.ended = Some(Ended::Outcome(Box::new(outcome)));
    }

    fn known<'a>(&'a self, last_line: Option<&'a str>) -> Known<'a> {
        let log = if self.session.errand.shows_logs() { Log::Shown } else { Log::Gone };
        self.teller.known(last_line, log)
    }

    /// Of a pod that stays.
    fn kept(&self, outcome: &Outcome) -> Option<String> {
        let kept = render::kept(outcome, &self.spec, self.now()?);
        kept.filter(|_| self.leaves_something())
    }

    fn leaves_something(&self) -> bool {
        self.session.errand.watches_over() && self.session.lab.is_none()
    }

    /// Without `-o json` a result is talk: standard output is the program's.
    fn result(&self, outcome: &Outcome) {
        if let Some(result) = &outcome.result {
            self.printer.say(Tone::Plain, format!("result: {}", render::clause(result)));
        }
    }

    fn outcome(&self, form: Output, outcome: &Outcome) -> Result<(), CliError> {
        match form.object() {
            Some(form) => self.printer.data(form.text(outcome)?.into_bytes()),
            None => {
                let at = self.last.map_or(Time::default(), |(at, _)| at);
                self.json_line(at, LastEvent { event: "outcome", outcome });
            }
        }
        Ok(())
    }

    fn json_line(&self, at: Time, event: impl Serialize) {
        self.printer.data(logs::json_line(&self.spec.task, at, event));
    }

    /// What the process exits with. Where the task has not ended, what there is to say of that is said.
    async fn exit(&mut self) -> Result<i32, CliError> {
        let code = match (self.ended.take(), self.caught) {
            (Some(Ended::Outcome(outcome)), _) => return Ok(self.ended_with(&outcome)),
            (Some(Ended::Detached), _) => return Ok(exit::SUCCESS),
            (Some(Ended::Untaken), _) => return Ok(exit::OWN),
            (Some(Ended::Crashed(why)), _) => return Err(self.crashed(&why)),
            (Some(Ended::TakenOver), _) => exit::TAKEN_OVER,
            (None, _) if self.session.errand == Errand::Cancel && self.refused.is_some() => {
                return Err(self.not_cancelled());
            }
            (None, caught) => {
                self.say_left().await;
                caught.map_or(exit::OWN, |caught| caught.exit_code)
            }
        };
        // An outcome that was on its way when this process left is on its way all the same.
        if self.delivering.is_none() {
            self.print_living()?;
        }
        Ok(code)
    }

    /// A cancel has done what it was to do when the task has ended, however that was. Without the right to, it is refused, whoever asked for it.
    fn ended_with(&self, outcome: &Outcome) -> i32 {
        let verdict = outcome.attempts.last().and_then(|attempt| attempt.verdict.as_ref());
        let doubt = verdict.and_then(|judged| render::in_doubt(&judged.verdict));
        let is_cancel = self.session.errand == Errand::Cancel || outcome.reason == Some(Reason::CancelledByUser);
        match (self.session.errand, doubt) {
            (Errand::Cancel, None) => exit::SUCCESS,
            (_, Some(why)) if render::is_denied(why) && is_cancel => exit::FORBIDDEN,
            (Errand::Cancel, Some(_)) => exit::OWN,
            _ => outcome.exit_code.unwrap_or(exit::OWN),
        }
    }

    /// With `-o` there is an Outcome of a task that lives on, too.
    fn print_living(&self) -> Result<(), CliError> {
        let Some(form) = self.form else { return Ok(()) };
        let mut outcome = Outcome::living(&self.spec.task, &self.spec.namespace, Vec::new());
        outcome.message = format!("{} lives on.", self.spec.task);
        self.outcome(form, &outcome)
    }

    fn not_cancelled(&self) -> CliError {
        let pod = self.teller.pod().unwrap_or(&self.spec.task);
        let why = self.refused.as_deref().unwrap_or_default();
        let (who, rule) = render::explained(why);
        let kind = if rule.is_empty() { ErrorKind::Refused } else { ErrorKind::Forbidden };
        CliError::new(kind, format!("not cancelled: pod {pod} still runs; {who}")).hints(rule)
    }

    fn crashed(&self, why: &str) -> CliError {
        let pod = self.teller.pod().map_or_else(|| "a pod of the task".to_owned(), |pod| format!("pod {pod}"));
        let (task, again) = (&self.spec.task, &self.session.again);
        let found = CliError::new(ErrorKind::Bug, format!("{}; {pod} may be left", render::clause(why)));
        match self.session.lab.is_some() {
            true => found,
            false => found.hint(format!("{} attach {task} --take-over{again}", render::program())),
        }
    }

    fn draw(&self) {
        let now = self.now().filter(|_| !self.is_over());
        self.printer.status(now.and_then(|now| self.teller.status(now)));
    }

    /// The task's clock. `None`: no event has set it yet.
    fn now(&self) -> Option<Time> {
        self.last.map(|(at, when)| at + when.elapsed())
    }

    fn leaving(&self) -> Leaving<'_> {
        Leaving {
            namespace: &self.spec.namespace,
            again: &self.session.again,
            watched_over: self.session.errand.watches_over(),
            cancelling: self.caught.is_some_and(|caught| caught.stop == Stop::User)
                || self.session.errand == Errand::Cancel,
        }
    }

    async fn say_left(&self) {
        let now = self.last.map_or(Time::default(), |(at, _)| at);
        self.printer.last_words(Tone::Plain, self.teller.left(&self.leaving(), now)).await;
    }

    /// The second signal: says what is left behind, and leaves.
    async fn leave_at_once(&self, caught: Caught) -> ! {
        self.printer.last_words(Tone::Bad, vec![self.teller.left_at_once(&self.leaving())]).await;
        std::process::exit(caught.exit_code)
    }
}

/// The next event, as soon as there is room to print it. One who leaves waits for none: what is missing of a log then is read again by who
/// attaches. Cancel safe.
async fn next(running: &mut Running, printer: &Printer, leaving: bool) -> Option<Event> {
    if !leaving {
        printer.room().await;
    }
    running.next().await
}

/// The next that comes to nothing of a lab's script. Cancel safe.
async fn in_vain(lab: &mut Option<Refusals>) -> String {
    match lab {
        Some(refusals) => refusals.next().await,
        None => std::future::pending().await,
    }
}

/// Comes when the outcome is out. Cancel safe.
async fn is_out(delivering: &mut Option<Delivering>) {
    match delivering {
        Some(delivering) => (&mut delivering.out).await,
        None => std::future::pending().await,
    }
}

/// The last line of `-o events`.
#[derive(Serialize)]
struct LastEvent<'a> {
    event: &'static str,
    outcome: &'a Outcome,
}
