//! What a scenario expects, and whether a transcript shows it.

use crate::printed::{self, Prints};
use crate::text::{Mistake, Statement, Word};
use crate::transcript::{Record, Sent, What, said};
use kpo_core::{Because, Class, Event, Next, NoRerun, Outcome, Proof, Reason, Spec, Started, Verdict};
use kpo_lab::Store;
use kpo_lab::script::json_of;
use std::time::Duration;

/// One expectation.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    /// Its line.
    pub line: usize,
    /// Of which observer.
    pub observer: String,
    /// What.
    pub what: Expectation,
}

/// What is expected.
#[derive(Clone, Debug, PartialEq)]
pub enum Expectation {
    /// The observer sends this next; between so long and so long after what came before it, where that is said. True: or it does
    /// not, for it only is in time to learn that there is no need.
    Sends(Sent, Option<(Duration, Duration)>, bool),
    /// The observer sends nothing that changes anything, from beginning to end.
    SendsNothing,
    /// The verdict on an attempt.
    Verdict(u32, String),
    /// It says something that begins so, after what was said before.
    Says(String),
    /// What it comes to.
    Outcome(EndsAs),
    /// The result. `None`: there is none.
    Result(Option<String>),
    /// What a container prints.
    Prints(Prints),
    /// This pod is left at the end.
    Keeps(String),
    /// It waits for this at that moment, where the run is ended.
    Waits(String, Duration),
    /// At most so many requests are made.
    Requests(u64),
}

/// What a task comes to: its class, and what else is said of it. What is `None` is not looked at, but for the class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndsAs {
    /// The class of the last verdict. `None`: there is none.
    pub class: Option<String>,
    /// The exit code.
    pub exit: Option<i32>,
    /// The reason's code.
    pub reason: Option<String>,
    /// The cause of a disruption.
    pub cause: Option<String>,
    /// The last attempt's node.
    pub node: Option<String>,
    /// The last attempt's number.
    pub attempt: Option<u32>,
    /// A part of the one line.
    pub saying: Option<String>,
}

/// The words with which expectations begin.
pub(crate) const STARTS: [&str; 9] =
    ["sends", "verdict", "says", "outcome", "result", "prints", "keeps", "waits", "requests"];

/// Reads one; `start` is its first word.
pub(crate) fn expectation(start: &Word, statement: &mut Statement) -> Result<Expectation, Mistake> {
    match start.text.as_str() {
        "sends" => sends(statement),
        "verdict" => expected_verdict(statement),
        "says" => Ok(Expectation::Says(rest(statement)?)),
        "outcome" => outcome(statement),
        "result" => result(statement),
        "prints" => Ok(Expectation::Prints(printed::prints(statement)?)),
        "keeps" => Ok(Expectation::Keeps(statement.next("the pod's name")?.text)),
        "waits" => waits(statement),
        "requests" => {
            statement.expect("at")?;
            statement.expect("most")?;
            Ok(Expectation::Requests(statement.next("how many")?.number()?))
        }
        _ => Err(start.unknown(&STARTS)),
    }
}

fn rest(statement: &mut Statement) -> Result<String, Mistake> {
    let mut text = statement.next("what is said, such as created 1")?.text;
    while statement.peek().is_some() {
        text += &format!(" {}", statement.next("a word")?.text);
    }
    Ok(text)
}

fn sends(statement: &mut Statement) -> Result<Expectation, Mistake> {
    let verb = statement.next("create, read, delete, ungate, protect, release, annotate or nothing")?;
    if verb.text == "nothing" {
        return Ok(Expectation::SendsNothing);
    }
    let known = ["create", "read", "delete", "ungate", "protect", "release", "annotate"];
    let found = known.iter().find(|known| **known == verb.text).ok_or_else(|| verb.unknown(&known))?;
    let mut sent = Sent::new(found, &statement.next("the pod's name")?.text);
    let (mut later, mut perhaps) = (None, false);
    while statement.peek().is_some() {
        let word = statement.next("a word")?;
        match word.text.as_str() {
            "perhaps" => perhaps = true,
            "gated" => sent.gated = true,
            "protected" => sent.protected = true,
            "deadline" => sent.deadline = Some(statement.next("how long")?.duration()?.as_secs()),
            "expiring" => {
                statement.expect("in")?;
                sent.expires = Some(statement.next("how long")?.duration()?);
            }
            "avoiding" => sent.avoids.push(statement.next("the node")?.text),
            _ => later = Some(span_later(&word, statement)?),
        }
    }
    Ok(Expectation::Sends(sent, later, perhaps))
}

/// `2s..2.4s later`, `at once`, `10m later`.
fn span_later(word: &Word, statement: &mut Statement) -> Result<(Duration, Duration), Mistake> {
    if word.text == "at" {
        statement.expect("once")?;
        return Ok((Duration::ZERO, Duration::from_millis(100)));
    }
    let Some((from, to)) = word.text.split_once("..") else {
        let exact = word.duration()?;
        statement.expect("later")?;
        return Ok((exact, exact + Duration::from_millis(100)));
    };
    let wrong = || word.mistake(format!("{:?} is no span of time; write 2s..2.4s later", word.text));
    statement.expect("later")?;
    let (from, to) = (crate::text::duration(from).ok_or_else(wrong)?, crate::text::duration(to).ok_or_else(wrong)?);
    Ok((from, to))
}

/// `verdict 1: disrupted by preemption, never started, proof kubelet-attested, reason preempted, then rerun`.
fn expected_verdict(statement: &mut Statement) -> Result<Expectation, Mistake> {
    let attempt = statement.next("the attempt's number")?.number()?;
    Ok(Expectation::Verdict(attempt, rest(statement)?))
}

fn outcome(statement: &mut Statement) -> Result<Expectation, Mistake> {
    let class = statement.next("the class of its verdict, or none")?;
    let classes = ["succeeded", "failed", "launchFailed", "disrupted", "cancelled", "none"];
    if !classes.contains(&class.text.as_str()) {
        return Err(class.unknown(&classes));
    }
    let mut ends = EndsAs { class: (class.text != "none").then_some(class.text), ..EndsAs::default() };
    while statement.peek().is_some() {
        let word = statement.next("a word")?;
        match word.text.as_str() {
            "by" => ends.cause = Some(statement.next("the cause")?.text),
            "exit" => ends.exit = Some(statement.next("the exit code")?.number()?),
            "reason" => ends.reason = Some(known_reason(&statement.next("the reason's code")?)?),
            "on" => ends.node = Some(statement.next("the node")?.text),
            "attempt" => ends.attempt = Some(statement.next("the attempt's number")?.number()?),
            "saying" => ends.saying = Some(statement.next("a part of the line, in quotation marks")?.text),
            _ => return Err(word.unknown(&["by", "exit", "reason", "on", "attempt", "saying"])),
        }
    }
    Ok(Expectation::Outcome(ends))
}

fn known_reason(word: &Word) -> Result<String, Mistake> {
    let known = Reason::ALL.map(Reason::code);
    if known.contains(&word.text.as_str()) { Ok(word.text.clone()) } else { Err(word.unknown(&known)) }
}

/// `result "{}"`, `result json of 5000 bytes`, `result none`.
fn result(statement: &mut Statement) -> Result<Expectation, Mistake> {
    let word = statement.next("the result, in quotation marks, json of so many bytes, or none")?;
    if word.text == "none" {
        return Ok(Expectation::Result(None));
    }
    if word.text != "json" || !statement.take("of") {
        return Ok(Expectation::Result(Some(word.text)));
    }
    let size = statement.next("how many bytes")?.number()?;
    statement.expect("bytes")?;
    Ok(Expectation::Result(Some(json_of(size))))
}

fn waits(statement: &mut Statement) -> Result<Expectation, Mistake> {
    statement.expect("for")?;
    let what = statement.next("what it waits for")?;
    let known = [
        "creation",
        "admission",
        "backoff",
        "predecessor",
        "queue",
        "node",
        "start",
        "program",
        "termination",
        "unreachable",
        "completion",
    ];
    if !known.contains(&what.text.as_str()) {
        return Err(what.unknown(&known));
    }
    statement.expect("at")?;
    Ok(Expectation::Waits(what.text, statement.next("the moment at which the run is ended")?.duration()?))
}

/// What is waited for, in a word and what matters most of it.
pub(crate) fn because(because: &Because) -> String {
    match because {
        Because::Creation => "creation".to_owned(),
        Because::Admission { .. } => "admission".to_owned(),
        Because::Backoff => "backoff".to_owned(),
        Because::Predecessor => "predecessor".to_owned(),
        Because::Queue { gates, .. } => format!("queue {}", gates.join(" ")).trim_end().to_owned(),
        Because::Node { scaling_up: true, .. } => "node scaling-up".to_owned(),
        Because::Node { .. } => "node".to_owned(),
        Because::Start { node, waiting, .. } => {
            format!("start {node} {}", waiting.as_deref().unwrap_or_default()).trim_end().to_owned()
        }
        Because::Program { node, .. } => format!("program {node}"),
        Because::Termination { .. } => "termination".to_owned(),
        Because::Unreachable { node, .. } => format!("unreachable {node}"),
        Because::Completion => "completion".to_owned(),
        Because::Finished => "finished".to_owned(),
        Because::Detached => "detached".to_owned(),
    }
}

/// A verdict in the words of a scenario.
pub(crate) fn verdict(verdict: &Verdict) -> String {
    let mut text = verdict.class.name().to_owned();
    if let Class::Disrupted { cause, started } = &verdict.class {
        let started = match started {
            Started::Never => "never started",
            Started::Started => "started",
            Started::Unknown => "perhaps started",
        };
        text += &format!(" by {} {started}", cause.name());
    }
    if let Some(proof) = verdict.proof {
        let proof = match proof {
            Proof::NeverBound => "never-bound",
            Proof::KubeletAttested => "kubelet-attested",
            Proof::KubeletRejected => "kubelet-rejected",
        };
        text += &format!(" proof {proof}");
    }
    text += &format!(" reason {}", verdict.reason.code());
    if let Some(code) = verdict.exit_code {
        text += &format!(" exit {code}");
    }
    text
}

/// What follows a verdict, in the words of a scenario.
pub(crate) fn next(next: &Next) -> String {
    match next {
        Next::Rerun { .. } => "rerun".to_owned(),
        Next::End { why: None } => "end".to_owned(),
        Next::End { why: Some(why) } => format!(
            "end {}",
            match why {
                NoRerun::Policy => "policy",
                NoRerun::Budget => "budget",
                NoRerun::Committed => "committed",
                NoRerun::UnsignedDelete => "unsigned-delete",
                NoRerun::Stopped => "stopped",
                NoRerun::Deadline => "deadline",
                NoRerun::Follower => "follower",
                NoRerun::NoManifest => "no-manifest",
                NoRerun::Over => "over",
            }
        ),
    }
}

/// Whether each clause of what is expected of a verdict stands in what was found: `disrupted by X …` in order, others anywhere.
fn verdict_fits(expected: &str, found: &Verdict, then: &Next) -> bool {
    let (expected, expected_then) =
        expected.split_once(" then ").map_or((expected, None), |(verdict, then)| (verdict, Some(then)));
    let found = format!("{} ", verdict(found));
    let clauses = clauses(expected);
    clauses.first().is_some_and(|first| found.starts_with(&format!("{first} ")))
        && clauses.iter().all(|clause| found.contains(&format!("{clause} ")))
        && expected_then.is_none_or(|expected| next(then) == expected)
}

/// `disrupted by preemption never started`, `proof kubelet-attested`, `reason preempted`, `exit 3`.
fn clauses(text: &str) -> Vec<String> {
    let mut all: Vec<String> = vec![String::new()];
    for word in text.split_whitespace() {
        if ["proof", "reason", "exit"].contains(&word) {
            all.push(word.to_owned());
        } else if let Some(last) = all.last_mut() {
            last.push_str(if last.is_empty() { "" } else { " " });
            last.push_str(word);
        }
    }
    all
}

/// How strictly a transcript is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rigour {
    /// All that was sent, in order and in time, and all else.
    Exact,
    /// The writes that were sent, in order, and all else; reads are the runner's own affair.
    Writes,
    /// What was concluded only: verdicts, outcome, what is printed and kept. For runs with a fault that the scenario does not speak of.
    Conclusions,
}

/// Compares; one line for each difference.
pub(crate) fn compare(expected: &[Expected], records: &[Record], rigour: Rigour) -> Vec<String> {
    let mut faults = Vec::new();
    let mut observers: Vec<&str> = expected.iter().map(|expected| expected.observer.as_str()).collect();
    observers.sort_unstable();
    observers.dedup();
    for observer in observers {
        let expected: Vec<&Expected> = expected.iter().filter(|e| e.observer == observer).collect();
        let records: Vec<&Record> = records.iter().filter(|record| record.observer == observer).collect();
        if rigour != Rigour::Conclusions {
            faults.extend(steps(&expected, &records, rigour));
            faults.extend(sayings(&expected, &records));
        }
        faults.extend(verdicts(&expected, &records));
        faults.extend(end(&expected, &records));
    }
    faults
}

/// What was sent, in order: all of it, and the silence after it.
fn steps(expected: &[&Expected], records: &[&Record], rigour: Rigour) -> Vec<String> {
    let counts = |sent: &Sent| rigour == Rigour::Exact || sent.is_write();
    let found: Vec<Found<'_>> = found(records, &counts);
    let wanted = expected.iter().filter_map(|expected| match &expected.what {
        Expectation::Sends(sent, later, perhaps) if counts(sent) => Some((expected.line, sent, *later, *perhaps)),
        _ => None,
    });
    let wanted: Vec<_> = wanted.collect();
    let silent = expected.iter().any(|expected| expected.what == Expectation::SendsNothing);
    if wanted.is_empty() && !silent {
        return Vec::new();
    }
    let mut rest = found.as_slice();
    let mut last = Duration::ZERO;
    for (line, sent, later, perhaps) in wanted {
        let got = rest.first().filter(|got| got.sent == sent);
        let Some(got) = got else {
            if perhaps {
                continue;
            }
            let instead = rest.first().map_or("nothing more was sent".to_owned(), |got| {
                format!("found: sends {}, at {:?}", got.sent, got.at)
            });
            return vec![format!("line {line}: expected: sends {sent}; {instead}")];
        };
        let since =
            |verdict: Option<Duration>| got.at.saturating_sub(verdict.map_or(last, |verdict| verdict.max(last)));
        // A request and a verdict of one instant are written down in either order.
        let passed = [since(got.verdict), since(got.verdict_by_then), since(None)];
        if let Some((from, to)) = later.filter(|(from, to)| !passed.iter().any(|passed| (*from..=*to).contains(passed)))
        {
            return vec![format!(
                "line {line}: sends {sent} after {:?}; expected between {from:?} and {to:?}",
                passed[0]
            )];
        }
        (rest, last) = (&rest[1..], got.at);
    }
    rest.first()
        .map(|got| format!("expected silence; found: sends {}, at {:?}", got.sent, got.at))
        .into_iter()
        .collect()
}

/// Something that was sent.
struct Found<'a> {
    at: Duration,
    sent: &'a Sent,
    /// When the last verdict before it was said.
    verdict: Option<Duration>,
    /// When the last verdict by the same moment was said.
    verdict_by_then: Option<Duration>,
}

fn found<'a>(records: &[&'a Record], counts: &dyn Fn(&Sent) -> bool) -> Vec<Found<'a>> {
    let mut verdict = None;
    let mut found = Vec::new();
    let ended = |record: &&&Record| matches!(record.what, What::Said(Event::Ended { .. }));
    let by = |at: Duration| records.iter().filter(ended).map(|record| record.at).filter(|ended| *ended <= at).max();
    for record in records {
        match &record.what {
            What::Said(Event::Ended { .. }) => verdict = Some(record.at),
            What::Sent(sent) if counts(sent) => {
                found.push(Found { at: record.at, sent, verdict, verdict_by_then: by(record.at) })
            }
            _ => {}
        }
    }
    found
}

/// What is said is a part of what was said, in order.
fn sayings(expected: &[&Expected], records: &[&Record]) -> Vec<String> {
    let mut said_so_far = records.iter().filter_map(|record| match &record.what {
        What::Said(event) => Some(said(event)),
        _ => None,
    });
    for expected in expected {
        let Expectation::Says(text) = &expected.what else { continue };
        if !said_so_far.any(|said| said == *text || said.starts_with(&format!("{text} "))) {
            return vec![format!("line {}: never said, or not in this order: {text}", expected.line)];
        }
    }
    Vec::new()
}

fn verdicts(expected: &[&Expected], records: &[&Record]) -> Vec<String> {
    let found = records.iter().filter_map(|record| match &record.what {
        What::Said(Event::Ended { attempt, verdict, next }) => Some((attempt, verdict, next)),
        _ => None,
    });
    let found: Vec<_> = found.collect();
    let wanted = expected.iter().filter_map(|expected| match &expected.what {
        Expectation::Verdict(attempt, text) => Some((expected.line, attempt, text)),
        _ => None,
    });
    let mut faults = Vec::new();
    let mut count = 0;
    for (line, attempt, text) in wanted {
        count += 1;
        match found.iter().find(|(number, ..)| *number == attempt) {
            None => faults.push(format!("line {line}: no verdict on attempt {attempt}; expected: {text}")),
            Some((_, found, then)) if !verdict_fits(text, found, then) => faults.push(format!(
                "line {line}: verdict {attempt}: expected: {text}; found: {}, then {}",
                verdict(found),
                next(then)
            )),
            Some(_) => {}
        }
    }
    if count > 0 && found.len() > count {
        faults.push(format!("{count} verdicts expected, {} found", found.len()));
    }
    faults
}

fn end(expected: &[&Expected], records: &[&Record]) -> Vec<String> {
    let mut faults = Vec::new();
    let outcomes: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.what {
            What::Outcome(outcome) => Some(outcome),
            _ => None,
        })
        .collect();
    for expected in expected {
        match &expected.what {
            Expectation::Outcome(ends) => match outcomes.last() {
                None => faults.push(format!("line {}: there is no outcome", expected.line)),
                Some(found) if !ends.fits(found) => {
                    faults.push(format!("line {}: another outcome: {}", expected.line, told(found)));
                }
                Some(_) => {}
            },
            Expectation::Result(text) => {
                let found = outcomes.last().and_then(|outcome| outcome.result.as_deref());
                if found != text.as_deref() {
                    let found = found.map(|found| found.chars().take(80).collect::<String>());
                    faults.push(format!("line {}: another result: {found:?}", expected.line));
                }
            }
            _ => {}
        }
    }
    faults.extend(printed::compare(expected, records));
    faults
}

impl EndsAs {
    fn fits(&self, found: &Outcome) -> bool {
        let last = found.attempts.last();
        let cause = last.and_then(|last| match &last.verdict.as_ref()?.verdict.class {
            Class::Disrupted { cause, .. } => Some(cause.name()),
            _ => None,
        });
        found.verdict == self.class
            && self.exit.is_none_or(|exit| found.exit_code == Some(exit))
            && is(&self.reason, found.reason.map(Reason::code))
            && is(&self.cause, cause)
            && is(&self.node, last.and_then(|last| last.pod.node.as_deref()))
            && self.attempt.is_none_or(|number| last.is_some_and(|last| last.number == number))
            && self.saying.as_ref().is_none_or(|text| found.message.contains(text))
    }
}

fn is(expected: &Option<String>, found: Option<&str>) -> bool {
    expected.as_deref().is_none_or(|expected| found == Some(expected))
}

fn told(outcome: &Outcome) -> String {
    let last = outcome.attempts.last();
    format!(
        "{:?}, exit {:?}, reason {:?}, attempt {:?} on {:?}: {}",
        outcome.verdict,
        outcome.exit_code,
        outcome.reason.map(Reason::code),
        last.map(|last| last.number),
        last.and_then(|last| last.pod.node.as_deref()),
        outcome.message
    )
}

/// Which of the task's pods are left.
pub(crate) fn keeps(expected: &[Expected], store: &Store, spec: &Spec) -> Vec<String> {
    let kept = expected.iter().filter_map(|expected| match &expected.what {
        Expectation::Keeps(pod) => Some(pod.clone()),
        _ => None,
    });
    let mut wanted: Vec<String> = kept.collect();
    let there = crate::seat::pods_of(store, &spec.namespace, &spec.task);
    let mut there: Vec<String> = there.into_iter().map(|pod| pod.metadata.name).collect();
    wanted.sort_unstable();
    there.sort_unstable();
    if wanted == there { Vec::new() } else { vec![format!("left at the end: {there:?}; expected: {wanted:?}")] }
}
