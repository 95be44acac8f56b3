//! What is expected of logs: `prints "hello"`, `prints proxy "hello" at 2s`, `prints 1000 lines`, `prints gap`, `prints nothing`.
//!
//! Of each container that is named, the task's own where none is, the lines are complete and in order.

use crate::expect::{Expectation, Expected};
use crate::text::{Mistake, Statement};
use crate::transcript::{Piece, Printed, Record, What};
use std::collections::BTreeSet;
use std::time::Duration;

/// Something that a container prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prints {
    /// The container; `None`: the task's own.
    pub container: Option<String>,
    /// What.
    pub what: PrintsWhat,
}

/// What is printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrintsWhat {
    /// This line; at this moment, and not later, where that is said.
    Line(String, Option<Duration>),
    /// No line.
    Nothing,
    /// So many lines.
    Lines(usize),
    /// A gap is named.
    Gap,
}

/// How much later than it was written a line may be handed over: a look of the kubelet's, and the way to it.
const LIVE: Duration = Duration::from_millis(100);

pub(crate) fn prints(statement: &mut Statement) -> Result<Prints, Mistake> {
    let mut word = statement.next("a line in quotation marks, nothing, gap, or how many lines")?;
    let mut container = None;
    if statement.peek().is_some_and(|next| !["at", "lines"].contains(&next)) {
        container = Some(word.text);
        word = statement.next("a line in quotation marks, nothing, gap, or how many lines")?;
    }
    let what = match word.text.as_str() {
        _ if statement.take("lines") => PrintsWhat::Lines(word.number()?),
        "nothing" => PrintsWhat::Nothing,
        "gap" => PrintsWhat::Gap,
        line => {
            let at = statement.take("at").then(|| statement.next("when")?.duration()).transpose()?;
            PrintsWhat::Line(line.to_owned(), at)
        }
    };
    Ok(Prints { container, what })
}

/// Compares; one line for each difference.
pub(crate) fn compare(expected: &[&Expected], records: &[&Record]) -> Vec<String> {
    let all = expected.iter().filter_map(|expected| match &expected.what {
        Expectation::Prints(prints) => Some((expected.line, prints)),
        _ => None,
    });
    let all: Vec<(usize, &Prints)> = all.collect();
    let containers: BTreeSet<&Option<String>> = all.iter().map(|(_, prints)| &prints.container).collect();
    let mut faults = Vec::new();
    for container in containers {
        let wanted: Vec<_> = all.iter().filter(|(_, prints)| prints.container == *container).copied().collect();
        faults.extend(compare_one(&wanted, &pieces(container, records)));
    }
    faults
}

/// What was handed over of a container's log, and when.
fn pieces<'r>(container: &Option<String>, records: &[&'r Record]) -> Vec<(Duration, &'r Printed)> {
    let of = |record: &&'r Record| match &record.what {
        What::Log(Piece { container: from, what, .. }) if from == container => Some((record.at, what)),
        _ => None,
    };
    records.iter().filter_map(of).collect()
}

fn compare_one(wanted: &[(usize, &Prints)], found: &[(Duration, &Printed)]) -> Vec<String> {
    let lines = found.iter().filter_map(|(at, printed)| match printed {
        Printed::Line { text, .. } => Some((*at, text.as_str())),
        Printed::Gap { .. } => None,
    });
    let lines: Vec<(Duration, &str)> = lines.collect();
    let has_gap = lines.len() < found.len();
    let (mut faults, mut next, mut complete) = (Vec::new(), lines.iter(), false);
    for (line, prints) in wanted {
        match &prints.what {
            PrintsWhat::Gap if !has_gap => faults.push(format!("line {line}: no gap was named")),
            PrintsWhat::Lines(count) if *count != lines.len() => {
                faults.push(format!("line {line}: {} lines were printed", lines.len()));
            }
            PrintsWhat::Gap | PrintsWhat::Lines(_) => {}
            PrintsWhat::Nothing => complete = true,
            PrintsWhat::Line(text, at) => {
                complete = true;
                let fits = |(then, found): &&(Duration, &str)| {
                    *found == text.as_str() && at.is_none_or(|at| (at..=at + LIVE).contains(then))
                };
                let got = next.next();
                if got.filter(fits).is_none() {
                    faults.push(format!("line {line}: printed instead: {got:?}"));
                }
            }
        }
    }
    if let Some(more) = next.next().filter(|_| complete) {
        faults.push(format!("printed beside what is expected: {more:?}"));
    }
    faults
}
