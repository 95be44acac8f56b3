//! Follows a task that is under way: its story, its logs, its end, and signals.

mod logs;

use crate::commands::{Output, OutputArgs};
use crate::error::CliError;
use crate::printer::{Printer, Tone};
use crate::render::{self, Teller};
use crate::retries::Retries;
use crate::signals::{Caught, Signals};
use kpo::driver::{Delivery, Event, Running, What};
use kpo_core::{Outcome, Stop, Time};
pub(crate) use logs::LogView;
use serde::Serialize;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

/// The live line changes this often.
const TICK: Duration = Duration::from_millis(500);

/// What is followed, and how it is shown.
pub(crate) struct Session {
    /// The task's id.
    pub(crate) task: String,
    /// Its namespace.
    pub(crate) namespace: String,
    /// The task's own container.
    pub(crate) container: String,
    /// Whether logs are shown.
    pub(crate) with_logs: bool,
    /// Whether kpo watches over it: then a second signal leaves something behind.
    pub(crate) watches_over: bool,
    /// Whether the cluster is a lab of this process's: it ends with it, and the pod too.
    pub(crate) in_lab: bool,
    /// What is appended to a command that goes on with it: ` -n batch --context prod`.
    pub(crate) again: String,
}

/// What following a task came to.
pub(crate) enum Followed {
    /// It ended.
    Ended(Box<Outcome>),
    /// Another observer has taken it over: how it ends is known there.
    TakenOver,
    /// It was left: the pod lives on; by which signal, if by one.
    Left(Option<Caught>),
}

impl Followed {
    /// What the process exits with.
    pub(crate) fn exit_code(&self) -> i32 {
        match self {
            Followed::Ended(outcome) => outcome.exit_code.unwrap_or(kpo_core::reason::exit::OWN),
            Followed::TakenOver => kpo_core::reason::exit::TAKEN_OVER,
            Followed::Left(signal) => signal.map_or(0, |signal| signal.exit_code),
        }
    }
}

impl Session {
    /// Follows the task to its end, or until a signal makes this process leave. A signal before that asks it to stop.
    pub(crate) async fn follow(
        self,
        running: Running,
        printer: Printer,
        output: &OutputArgs,
        (signals, retries): (Signals, Retries),
    ) -> Result<Followed, CliError> {
        let logs = LogView::new(&self.container, output.output);
        let teller = Teller::new(&self.task, self.in_lab);
        let follower = Follower {
            session: self,
            printer,
            form: output.output,
            teller,
            logs,
            signals,
            retries,
            last: None,
            caught: None,
            outcome: None,
            admitted: Vec::new(),
            result_limit: None,
            taken_over: false,
        };
        follower.run(running).await
    }
}

struct Follower {
    session: Session,
    printer: Printer,
    form: Option<Output>,
    teller: Teller,
    logs: LogView,
    signals: Signals,
    retries: Retries,
    /// The last event's time, and when it came: the live line's clock goes on from there.
    last: Option<(Time, Instant)>,
    caught: Option<Caught>,
    outcome: Option<Box<Outcome>>,
    /// What admission changed of the pod that was admitted last, until it is said.
    admitted: Vec<String>,
    /// The most that a result may have, of the pod that was admitted last, and whether it was said.
    result_limit: Option<(usize, bool)>,
    taken_over: bool,
}

impl Follower {
    async fn run(mut self, mut running: Running) -> Result<Followed, CliError> {
        let stopper = running.stopper();
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                event = running.next() => match event {
                    Some(event) => {
                        self.take(event).await?;
                        if self.taken_over {
                            stopper.stop(Stop::Shutdown);
                        }
                    }
                    None => break,
                },
                caught = self.signals.next() => {
                    if self.caught.is_some() {
                        self.leave_at_once(caught).await;
                    }
                    self.caught = Some(caught);
                    stopper.stop(caught.stop);
                }
                retry = self.retries.next() => {
                    if let Some(line) = self.teller.retry(&retry, self.now()) {
                        self.printer.say(line.tone, line.text).await;
                    }
                }
                _ = tick.tick() => self.draw(),
            }
        }
        let followed = match self.outcome.take() {
            Some(outcome) => Followed::Ended(outcome),
            None if self.taken_over => Followed::TakenOver,
            None => {
                self.say_left().await;
                Followed::Left(self.caught)
            }
        };
        self.printer.finish().await;
        Ok(followed)
    }

    async fn take(&mut self, event: Event) -> Result<(), CliError> {
        self.last = Some((event.at, Instant::now()));
        match event.what {
            What::Task(told) => {
                if self.form == Some(Output::Events) {
                    self.json_line(event.at, &told).await;
                }
                for line in self.teller.tell(&told, event.at) {
                    self.printer.say(line.tone, line.text).await;
                }
                self.taken_over |= matches!(told, kpo_core::Event::TakenOver { .. });
                self.say_admitted(event.at).await;
                self.say_result_limit(event.at).await;
                self.draw();
            }
            // The answer to the create comes before the event that tells of the pod.
            What::Admitted(costs) => self.admitted = costs,
            What::ResultLimit(bytes) => {
                let said = self.result_limit == Some((bytes, true));
                self.result_limit = Some((bytes, said));
            }
            What::Log(piece) if self.session.with_logs => {
                let said = self.logs.print(&self.printer, &self.session.task, event.at, &piece).await;
                if let Some(text) = said {
                    self.printer.say(Tone::Odd, self.teller.stamped(text, Some(event.at))).await;
                }
            }
            What::Log(_) => {}
            What::Trouble(why) => {
                let line = self.teller.trouble(&why, event.at);
                self.printer.say(line.tone, line.text).await;
            }
            What::Outcome(delivery) => self.end(delivery).await?,
            _ => {}
        }
        Ok(())
    }

    async fn say_admitted(&mut self, at: Time) {
        let costs = std::mem::take(&mut self.admitted);
        if costs.is_empty() {
            return;
        }
        if self.form == Some(Output::Events) {
            self.json_line(at, json!({"event": "admitted", "changes": costs})).await;
        }
        for cost in costs {
            let text = format!("admission changed the pod: {}", render::clause(&cost));
            self.printer.say(Tone::Odd, self.teller.stamped(text, Some(at))).await;
        }
    }

    async fn say_result_limit(&mut self, at: Time) {
        let Some((bytes, said @ false)) = &mut self.result_limit else { return };
        *said = true;
        let bytes = *bytes;
        if self.form == Some(Output::Events) {
            self.json_line(at, json!({"event": "resultLimit", "bytes": bytes})).await;
        }
        self.printer.say(Tone::Plain, self.teller.stamped(render::result_limit(bytes), Some(at))).await;
    }

    /// Says how it ended. Only when that is out may anything be deleted.
    async fn end(&mut self, delivery: Delivery) -> Result<(), CliError> {
        self.printer.status(None);
        let (why, last) = (self.teller.why_no_rerun(), self.logs.last_line());
        let mut outcome = delivery.outcome().clone();
        let known = render::Known { container: &self.session.container, why, last_line: last.as_deref() };
        let ending = render::ending(&outcome, known);
        outcome.message = render::one_line(&outcome, known);
        self.printer.say(ending.tone, self.teller.stamped(ending.line, self.last.map(|(at, _)| at))).await;
        for next in ending.next {
            self.printer.say(Tone::Plain, format!("  {next}")).await;
        }
        for line in render::evidence(&outcome) {
            self.printer.detail(line).await;
        }
        match self.form {
            Some(Output::Json) => self.printer.data(pretty(&outcome)).await,
            Some(Output::Events) => {
                let at = self.last.map_or(Time::default(), |(at, _)| at);
                self.json_line(at, Ended { event: "outcome", outcome: &outcome }).await;
            }
            None => self.result(&outcome).await,
        }
        self.printer.flush().await;
        delivery.taken();
        self.outcome = Some(Box::new(outcome));
        Ok(())
    }

    /// Without `-o json` a result is talk: standard output is the program's.
    async fn result(&self, outcome: &Outcome) {
        if let Some(result) = &outcome.result {
            self.printer.say(Tone::Plain, format!("result: {}", render::clause(result))).await;
        }
    }

    async fn json_line(&self, at: Time, event: impl Serialize) {
        self.printer.data(logs::json_line(&self.session.task, at, event)).await;
    }

    fn draw(&self) {
        self.printer.status(self.now().and_then(|now| self.teller.status(now)));
    }

    /// The task's clock. `None`: no event has set it yet.
    fn now(&self) -> Option<Time> {
        self.last.map(|(at, when)| at + when.elapsed())
    }

    async fn say_left(&self) {
        let Some(pod) = self.teller.pod() else { return };
        let Session { task, namespace, again, watches_over, .. } = &self.session;
        if self.session.in_lab {
            return self.printer.say(Tone::Plain, format!("left: the lab ends with kpo, and pod {pod} with it")).await;
        }
        let now = self.last.map_or(Time::default(), |(at, _)| at);
        let end = match self.teller.ends_by_itself(now) {
            Some(left) => format!("it ends by itself, at the latest in {left}"),
            None => "it has no deadline: it runs until its program ends".to_owned(),
        };
        let over = if *watches_over { " --take-over" } else { "" };
        self.printer.say(Tone::Plain, format!("detached: pod {pod} in namespace {namespace} runs on; {end}.")).await;
        self.printer.say(Tone::Plain, format!("  Nobody watches over it now: kpo attach {task}{over}{again}")).await;
    }

    /// The second signal: says what is left behind, and leaves.
    async fn leave_at_once(&self, caught: Caught) -> ! {
        let Session { task, namespace, again, .. } = &self.session;
        let pod =
            self.teller.pod().map_or_else(|| "its pod, if it was created,".to_owned(), |pod| format!("pod {pod}"));
        let text = match self.caught.map(|first| first.stop) {
            _ if self.session.in_lab => format!("left at once: the lab ends with kpo, and {pod} with it"),
            Some(Stop::Shutdown) => {
                format!("left at once: {pod} in namespace {namespace} runs on: kpo attach {task}{again}")
            }
            _ => format!("left at once: {pod} in namespace {namespace} may be left behind: kpo cancel {task}{again}"),
        };
        self.printer.say(Tone::Bad, text).await;
        // A terminal that takes nothing more must not hold this up.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.printer.flush()).await;
        std::process::exit(caught.exit_code)
    }
}

/// The last line of `-o events`.
#[derive(Serialize)]
struct Ended<'a> {
    event: &'static str,
    outcome: &'a Outcome,
}

fn pretty(outcome: &Outcome) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(outcome).unwrap_or_default();
    text.push(b'\n');
    text
}
