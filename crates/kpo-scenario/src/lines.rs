//! What containers wrote and what was handed over of it, line by line.
//!
//! Each life of an observer reads a log from its beginning, so each is judged for itself: what it was given is what was written, in order, and
//! where something is missing a gap stands in its place, named by the times of the lines beside it.

use crate::audit::{Evidence, Life};
use crate::core_run::Sabotage;
use crate::transcript::{Piece, Printed, What};
use kpo_core::Event;
use kpo_lab::Time;
use std::collections::{BTreeMap, BTreeSet};

/// The life that created the task.
const FIRST: u64 = 1;

/// A life of an observer that had an outcome.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) life: u64,
    pub(crate) observer: String,
    pub(crate) at: Time,
    /// Its last attempt: number and pod.
    pub(crate) last: Option<(u32, String)>,
}

/// A line that was written.
struct Line {
    at: kpo_core::Time,
    text: String,
    /// Whether it is the first of a file: who attaches after a rotation finds the log to begin there.
    begins: bool,
}

/// What is wrong with what was handed over.
pub(crate) fn check(evidence: &Evidence<'_>, finished: &[Finished]) -> Vec<String> {
    let mut found = Vec::new();
    for ((life, pod, container), pieces) in streams(evidence, finished) {
        let name = container.as_deref().unwrap_or(&evidence.spec.template.container);
        let Some(written) = written(evidence, &pod, name) else {
            if pieces.is_empty() {
                continue;
            }
            found.push(format!("life {life} was given a log of {pod}/{name}, which never ran"));
            continue;
        };
        let end = finished.iter().find(|end| end.life == life && container.is_none());
        let from = if life == FIRST { 0 } else { beginning(&written, &pieces) };
        let wrong = judge(&written, from, &pieces, end.map(|end| kpo_core::Time(end.at.0)));
        found.extend(wrong.map(|wrong| format!("the log of {pod}/{name}, as life {life} was given it: {wrong}")));
    }
    found
}

type Stream = (u64, String, Option<String>);

/// What each life was given of each container; of the task's own in its last attempt also where that is nothing.
fn streams<'e>(evidence: &'e Evidence<'_>, finished: &[Finished]) -> BTreeMap<Stream, Vec<&'e Printed>> {
    let mut streams: BTreeMap<Stream, Vec<&Printed>> = BTreeMap::new();
    let mut running: BTreeSet<(&str, u32)> = BTreeSet::new();
    for record in evidence.records {
        match &record.what {
            What::Log(Piece { life, pod, container, what }) => {
                streams.entry((*life, pod.clone(), container.clone())).or_default().push(what);
            }
            What::Said(Event::Running { attempt, .. }) => drop(running.insert((&record.observer, *attempt))),
            _ => {}
        }
    }
    for end in finished {
        if let Some((number, pod)) = &end.last
            && running.contains(&(end.observer.as_str(), *number))
        {
            streams.entry((end.life, pod.clone(), None)).or_default();
        }
    }
    streams
}

/// All that a pod's container wrote. `None`: it never ran.
fn written(evidence: &Evidence<'_>, pod: &str, container: &str) -> Option<Vec<Line>> {
    let is = |life: &Life| life.name == pod && life.container == container;
    let text = |text: Vec<u8>| String::from_utf8_lossy(&text).trim_end_matches('\r').to_owned();
    // A kubelet may start one again.
    let logs: Vec<_> = evidence.book.read().into_iter().filter(is).filter_map(|life| life.log).collect();
    let mut lines = Vec::new();
    for log in &logs {
        let mut files = BTreeSet::new();
        lines.extend(log.written().into_iter().map(|line| Line {
            at: kpo_core::Time(line.at.0),
            begins: files.insert(line.file),
            text: text(line.text),
        }));
    }
    (!logs.is_empty()).then_some(lines)
}

/// Where a log begins for who attaches: with the file that was the current one then.
fn beginning(written: &[Line], pieces: &[&Printed]) -> usize {
    let Some(Printed::Line { at, text }) = pieces.first() else { return 0 };
    written.iter().position(|line| line.begins && line.is(*at, text)).unwrap_or(0)
}

impl Line {
    fn is(&self, at: kpo_core::Time, text: &str) -> bool {
        self.at == at && self.text == text
    }
}

/// The first thing that is wrong; `from`: where it begins; `until`: by when nothing may be missing.
fn judge(written: &[Line], from: usize, pieces: &[&Printed], until: Option<kpo_core::Time>) -> Option<String> {
    let (mut next, mut gap) = (from, None);
    for piece in pieces {
        match piece {
            Printed::Gap { after, before, cause } => {
                let last = next.checked_sub(1).map(|last| written[last].at);
                if *after != last {
                    return Some(format!(
                        "a gap ({cause}) after {after:?}, and the last line before it is of {last:?}"
                    ));
                }
                gap = Some(before);
            }
            Printed::Line { at, text } => {
                let ahead = written[next..].iter().position(|line| line.is(*at, text));
                match (ahead, gap.take()) {
                    (Some(_), Some(Some(before))) if before != at => {
                        return Some(format!("a gap up to {before:?}, and the first line after it is of {at:?}"));
                    }
                    (Some(0), _) => next += 1,
                    (Some(missing), Some(_)) => next += missing + 1,
                    (Some(missing), None) => return Some(format!("{missing} lines are missing before {text:?}")),
                    (None, _) if written[..next].iter().any(|line| line.is(*at, text)) => {
                        return Some(format!("{text:?} comes again, or too late"));
                    }
                    (None, _) => return Some(format!("nobody wrote {text:?} at {at:?}")),
                }
            }
        }
    }
    let missing = written[next..].iter().filter(|line| until.is_some_and(|until| line.at <= until)).count();
    (missing > 0 && gap.is_none()).then(|| format!("{missing} lines are missing at the end"))
}

/// Puts defects into what is handed over of the task's own container.
#[derive(Debug, Default)]
pub(crate) struct Mangler {
    lines: usize,
    held: Option<Piece>,
}

impl Mangler {
    /// What is handed over instead.
    pub(crate) fn mangle(&mut self, defect: Sabotage, piece: &Piece) -> Vec<Piece> {
        self.lines += usize::from(piece.container.is_none());
        let second = self.lines == 2 && piece.container.is_none();
        let with = |what: Printed| Piece { what, ..piece.clone() };
        match defect {
            Sabotage::Mute => Vec::new(),
            Sabotage::Swallow if second => Vec::new(),
            Sabotage::Stutter if second => vec![piece.clone(), piece.clone()],
            Sabotage::Invent if second => {
                let invented = Printed::Line { at: kpo_core::Time::default(), text: "made up".to_owned() };
                vec![piece.clone(), with(invented)]
            }
            Sabotage::Misname if second => {
                let gap = Printed::Gap { after: None, before: None, cause: "none".to_owned() };
                vec![with(gap), piece.clone()]
            }
            Sabotage::Swap if second => {
                self.held = Some(piece.clone());
                Vec::new()
            }
            _ => [piece.clone()].into_iter().chain(self.held.take()).collect(),
        }
    }
}
