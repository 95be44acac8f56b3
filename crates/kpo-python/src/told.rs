//! Events as Python takes them: JSON, beside each the command line's words; and lines of logs as bytes.

use kpo::driver::{Delivery, Event, Piece, What};
use kpo::logs::{GapCause, LogBatch, LogEvent};
use kpo_cli::Story;
use kpo_core::{Outcome, Time};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};

/// What is handed to Python.
pub(crate) enum Item {
    /// An event as JSON.
    Json(String),
    /// What a container has logged.
    Lines { at: Time, pod: Arc<str>, container: Arc<str>, batch: LogBatch },
}

/// Whose logs are wanted. `None`: all containers'.
pub(crate) struct Wanted(Option<Vec<String>>);

impl Wanted {
    pub(crate) fn of(containers: Option<Vec<String>>) -> Self {
        Self(containers)
    }

    fn has(&self, container: &str) -> bool {
        self.0.as_ref().is_none_or(|wanted| wanted.iter().any(|name| name == container))
    }
}

/// Makes Python's of the engine's events.
pub(crate) struct Teller {
    story: Story,
    wanted: Wanted,
    delivery: Arc<Mutex<Option<Delivery>>>,
}

/// An event's own fields, when it was, and what the command line says of it.
#[derive(Serialize)]
struct Told<E> {
    at: Time,
    lines: Vec<String>,
    #[serde(flatten)]
    event: E,
}

impl Item {
    fn json(at: Time, lines: Vec<String>, event: impl Serialize) -> Self {
        // Values of strings, numbers and lists: their serialisation cannot fail.
        Self::Json(serde_json::to_string(&Told { at, lines, event }).unwrap_or_default())
    }

    pub(crate) fn object(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        match self {
            Item::Json(text) => Ok(PyString::new(py, &text).into_any().unbind()),
            Item::Lines { at, pod, container, batch } => {
                let line = |(line, cursor): (kpo::logs::LogLine<'_>, kpo::logs::LogCursor)| {
                    let (time, lines, checksum) = cursor.into();
                    (time, PyBytes::new(py, line.bytes), line.continues, line.partial, lines, checksum)
                        .into_pyobject(py)
                };
                let lines = batch.iter().zip(batch.cursors()).map(line).collect::<PyResult<Vec<_>>>()?;
                Ok((at.0, &*pod, &*container, PyList::new(py, lines)?).into_pyobject(py)?.into_any().unbind())
            }
        }
    }
}

impl Teller {
    pub(crate) fn new(story: Story, wanted: Wanted, delivery: Arc<Mutex<Option<Delivery>>>) -> Self {
        Self { story, wanted, delivery }
    }

    /// Fields of a Job that mean nothing to a task.
    pub(crate) fn unused(fields: &[String]) -> Option<Item> {
        let lines =
            fields.iter().map(|field| format!("note: {field} means nothing to a task, and is not used")).collect();
        (!fields.is_empty()).then(|| Item::json(Time::default(), lines, json!({"event": "unused", "fields": fields})))
    }

    /// What Python is told of an event. `None`: nothing.
    pub(crate) fn tell(&mut self, event: Event) -> Option<Item> {
        let at = event.at;
        let lines = self.story.tell(at, &event.what);
        Some(match event.what {
            What::Task(told) => Item::json(at, lines, told),
            What::Ran(container) => Item::json(at, lines, json!({"event": "ran", "container": container})),
            What::Log(piece) => return self.log(at, lines, piece),
            What::Admitted(changes) => Item::json(at, lines, json!({"event": "admitted", "changes": changes})),
            What::ResultLimit(bytes) => Item::json(at, lines, json!({"event": "resultLimit", "bytes": bytes})),
            What::Trouble(why) => Item::json(at, lines, json!({"event": "trouble", "why": why})),
            What::Crashed(why) => Item::json(at, lines, json!({"event": "crashed", "why": why})),
            What::Outcome(delivery) => self.outcome(at, delivery),
            _ => return None,
        })
    }

    fn log(&self, at: Time, lines: Vec<String>, piece: Piece) -> Option<Item> {
        let Piece { pod, container, event } = piece;
        if !self.wanted.has(&container) {
            return None;
        }
        let of = |event: &str, more: Value| {
            let mut fields = json!({"event": event, "pod": &*pod, "container": &*container});
            if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
                fields.extend(more);
            }
            fields
        };
        Some(match event {
            LogEvent::Lines(batch) => Item::Lines { at, pod, container, batch },
            LogEvent::Gap(gap) => {
                let (cause, detail) = cause(&gap.cause);
                let more = json!({"after": gap.after, "before": gap.before, "cause": cause, "detail": detail});
                Item::json(at, lines, of("gap", more))
            }
            LogEvent::Trouble(trouble) => {
                let more = json!({"why": trouble.failure.to_string(), "retryIn": trouble.retry_in});
                Item::json(at, lines, of("logTrouble", more))
            }
            LogEvent::End => return None,
        })
    }

    /// The outcome. It counts as taken when Python says so.
    fn outcome(&self, at: Time, delivery: Delivery) -> Item {
        let mut outcome: Outcome = delivery.outcome().clone();
        *self.delivery.lock().unwrap_or_else(PoisonError::into_inner) = Some(delivery);
        let lines = self.story.end(at, &mut outcome);
        // Apart, as the program wrote it: a number keeps its digits.
        let result = outcome.result.take();
        Item::json(at, lines, json!({"event": "outcome", "outcome": outcome, "result": result}))
    }
}

fn cause(cause: &GapCause) -> (&'static str, Option<&str>) {
    match cause {
        GapCause::Rotated => ("rotated", None),
        GapCause::Overtaken => ("overtaken", None),
        GapCause::PodGone(why) => ("pod-gone", why.as_deref()),
        GapCause::ContainerGone(why) => ("container-gone", Some(why)),
        GapCause::Forbidden(why) => ("forbidden", Some(why)),
        GapCause::Unreadable(why) => ("unreadable", Some(why)),
    }
}
