//! The logs of a task, as the flags want them.

use crate::commands::Output;
use crate::error::CliError;
use crate::printer::{Printer, escaped};
use crate::render;
use crate::retries::{TOLD_EVERY, is_of_this_machine};
use kpo::driver::Piece;
use kpo::logs::{GapCause, LogBatch, LogEvent, LogGap, LogTrouble};
use kpo_core::{EVENT_VERSION, Time};
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// How much of the program's last line is kept, in bytes.
const LAST_LINE: usize = 1024;

/// Shows logs, and keeps the last line of the task's own container.
pub(crate) struct LogView {
    own: String,
    form: Option<Output>,
    last: Vec<u8>,
    /// Containers of which it was said that their logs may not be read.
    forbidden: BTreeSet<String>,
    /// When it was last said of a container that its log cannot be read now.
    said: BTreeMap<String, Instant>,
}

/// What there is to say of a log.
pub(crate) enum Note {
    /// To everybody.
    Say(String),
    /// To who wants to know more.
    Detail(String),
}

impl LogView {
    pub(crate) fn new(own: &str, form: Option<Output>) -> Self {
        Self { own: own.to_owned(), form, last: Vec::new(), forbidden: BTreeSet::new(), said: BTreeMap::new() }
    }

    /// The last line of the task's own container that is not empty. `None`: it printed none.
    pub(crate) fn last_line(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.last).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// Prints a piece of a log. What is to be said of one that cannot be read, or only in part, it returns.
    pub(crate) fn print(&mut self, printer: &Printer, task: &str, at: Time, piece: &Piece) -> Option<String> {
        match &piece.event {
            LogEvent::Lines(batch) => self.lines(printer, task, piece, batch),
            LogEvent::Gap(gap) if self.form == Some(Output::Events) => {
                let value = json!({"event": "gap", "pod": &*piece.pod, "container": &*piece.container,
                    "after": gap.after.map(|at| at.to_string()), "before": gap.before.map(|at| at.to_string()), "cause": cause(gap)});
                printer.data(json_line(task, at, value));
            }
            _ => {}
        }
        match self.note(piece)? {
            Note::Say(text) => return Some(text),
            Note::Detail(text) => printer.detail(text),
        }
        None
    }

    /// What there is to say of a piece, beside its lines. `None`: nothing.
    pub(crate) fn note(&mut self, piece: &Piece) -> Option<Note> {
        match &piece.event {
            LogEvent::Lines(batch) => {
                if *piece.container == *self.own {
                    self.remember(batch);
                }
                None
            }
            LogEvent::Gap(gap) => {
                // Of a log that may not be read, all is missing, and that was said.
                let said = matches!(gap.cause, GapCause::Forbidden(_)) && self.forbidden.contains(&*piece.container);
                (!said).then(|| Note::Say(render::gap(gap.after, gap.before, &cause(gap))))
            }
            LogEvent::Trouble(trouble) if trouble.failure.is_forbidden() => {
                let is_news = self.forbidden.insert(piece.container.to_string());
                let text = format!("the log of {} cannot be read: {}", piece.container, trouble.failure);
                is_news.then(|| Note::Say(render::with_rule(&text)))
            }
            LogEvent::Trouble(trouble) => {
                let (container, again) = (&piece.container, render::span_text(trouble.retry_in));
                let text = format!("the log of {container} cannot be read now ({}); again in {again}", trouble.failure);
                Some(match self.is_to_be_said(container, trouble) {
                    true => Note::Say(text),
                    false => Note::Detail(text),
                })
            }
            LogEvent::End => None,
        }
    }

    /// Trouble that passes by itself is not worth a line; what lasts, or is this machine's own, is said once a minute.
    fn is_to_be_said(&mut self, container: &str, trouble: &LogTrouble) -> bool {
        let lasts = trouble.since.elapsed() >= TOLD_EVERY || is_of_this_machine(&trouble.failure);
        let is_due = self.said.get(container).is_none_or(|said| said.elapsed() >= TOLD_EVERY);
        if lasts && is_due {
            self.said.insert(container.to_owned(), Instant::now());
        }
        lasts && is_due
    }

    fn lines(&self, printer: &Printer, task: &str, piece: &Piece, batch: &LogBatch) {
        let own = *piece.container == *self.own;
        match self.form {
            Some(Output::Events) => printer.data(as_events(task, piece, batch)),
            None if own => printer.data(bare(batch)),
            None | Some(Output::Json | Output::Yaml) => {
                let prefix = if own { "" } else { &*piece.container };
                printer.other(prefix, batch);
            }
        }
    }

    fn remember(&mut self, batch: &LogBatch) {
        if let Some(line) = batch.iter().rev().find(|line| !line.bytes.trim_ascii().is_empty()) {
            self.last.clear();
            self.last.extend_from_slice(&line.bytes[..line.bytes.len().min(LAST_LINE)]);
        }
    }
}

/// The bytes as the program wrote them.
fn bare(batch: &LogBatch) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(batch.size());
    for line in batch.iter() {
        bytes.extend_from_slice(line.bytes);
        if !line.partial {
            bytes.push(b'\n');
        }
    }
    bytes
}

fn as_events(task: &str, piece: &Piece, batch: &LogBatch) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(batch.size() * 2);
    for line in batch.iter() {
        let value = json!({"event": "log", "pod": &*piece.pod, "container": &*piece.container,
            "line": String::from_utf8_lossy(line.bytes), "continues": line.continues, "partial": line.partial});
        bytes.extend(json_line(task, line.time, value));
    }
    bytes
}

/// One line of `-o events`: version, time and task, then the event's own fields.
pub(super) fn json_line(task: &str, at: Time, event: impl Serialize) -> Vec<u8> {
    line(Some(task), at, event)
}

/// The last line of `-o events` where there is no Outcome: an object of kind Error. Which task is meant may not be known.
pub(crate) fn error_line(error: &CliError) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    line(None, Time::default() + now, json!({"event": "error", "error": error.object()}))
}

fn line(task: Option<&str>, at: Time, event: impl Serialize) -> Vec<u8> {
    #[derive(Serialize)]
    struct Line<'a, E> {
        version: u32,
        at: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        task: Option<&'a str>,
        #[serde(flatten)]
        event: E,
    }
    let line = Line { version: EVENT_VERSION, at: at.to_string(), task, event };
    let mut text = escaped(serde_json::to_string(&line).unwrap_or_default());
    text.push('\n');
    text.into_bytes()
}

fn cause(gap: &LogGap) -> String {
    let words = |text: &str| render::clause(text);
    match &gap.cause {
        GapCause::Rotated => "the log was rotated while it was not being followed".to_owned(),
        GapCause::Overtaken if gap.before.is_none() => {
            "reading was behind when it was rotated: what was written after that may be lost".to_owned()
        }
        GapCause::Overtaken => {
            "it was written faster than it could be read, and rotated; the line before may be two".to_owned()
        }
        GapCause::PodGone(None) => "the pod went away before they could be read".to_owned(),
        GapCause::PodGone(Some(why)) => format!("the pod went away before they could be read: {}", words(why)),
        GapCause::ContainerGone(why) => format!("the node no longer has the container's log: {}", words(why)),
        GapCause::Forbidden(why) => format!("reading the log is forbidden: {}", words(why)),
        GapCause::Unreadable(why) => format!("the log could not be read in time: {}", words(why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kpo::request::{ApiFailure, Effect, TransportKind};
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_log_that_cannot_be_read_is_said_when_that_lasts_and_once_a_minute() {
        for (kind, seconds) in
            [(TransportKind::Refused, vec![60, 120, 180]), (TransportKind::Descriptors, vec![0, 60, 120, 180])]
        {
            let mut view = LogView::new("base", None);
            let since = Instant::now();
            let failure = ApiFailure::Transport { effect: Effect::None, kind, server: "h:1".into(), source: None };
            let mut said = Vec::new();
            for second in (0..200).step_by(10) {
                let trouble = LogTrouble { failure: failure.clone(), since, retry_in: Duration::from_secs(10) };
                if view.is_to_be_said("base", &trouble) {
                    said.push(second);
                }
                tokio::time::advance(Duration::from_secs(10)).await;
            }
            assert_eq!(said, seconds, "{kind:?}");
        }
    }
}
