//! Statements about what scripted containers do.

use std::time::Duration;

use super::ScriptError;
use super::cluster::pair;
use super::lex::{Line, Word};
use crate::log::Stream;
use crate::scripted::{
    Behaviour, Content, Ending, Line as SaidLine, Matching, Message, OnTerm, Run, Start, Volume, Write,
};

/// The word with which such a statement begins.
pub(super) const START: &str = "container";

pub(super) const WORDS: [&str; 19] = [
    "of",
    "on",
    "image=",
    "restart=",
    "runs",
    "exit",
    "exits",
    "says",
    "mutters",
    "writes",
    "fills",
    "message",
    "hands-over",
    "on-term",
    "oom",
    "not-executable",
    "cannot-start",
    "logs",
    "killed",
];

/// Reads one.
pub(super) fn container(line: &mut Line) -> Result<(Matching, Behaviour), ScriptError> {
    line.expect(START)?;
    let name = line.next("the container's name, or *")?.text;
    let mut matching = if name == "*" { Matching::all() } else { Matching::container(name) };
    let mut behaviour = Behaviour::default();
    let mut said = Said::default();
    while line.peek().is_some() {
        let word = line.next("what it does")?;
        said.take_note(&word, line)?;
        if !which(line, &word, &mut matching)? && !what(line, &word, &mut behaviour)? {
            return Err(Line::unknown(&word, &WORDS));
        }
    }
    Ok((matching, behaviour))
}

/// What has been said of a container's run and of its end: each is said once, or the later word would undo the earlier one.
#[derive(Default)]
struct Said {
    run: Option<&'static str>,
    end: Option<&'static str>,
}

impl Said {
    fn take_note(&mut self, word: &Word, line: &Line) -> Result<(), ScriptError> {
        let timed = line.peek().is_some_and(|next| next.text == "after");
        let (run, end) = match word.text.as_str() {
            "runs" => (Some("runs"), None),
            "exit" | "exits" => (None, Some("exit")),
            "killed" => (None, Some("killed")),
            "oom" => (timed.then_some("oom after"), Some("oom")),
            _ => return Ok(()),
        };
        once(word, &mut self.end, end, "how it ends")?;
        once(word, &mut self.run, run, "how long it runs")
    }
}

fn once(
    word: &Word,
    before: &mut Option<&'static str>,
    now: Option<&'static str>,
    what: &str,
) -> Result<(), ScriptError> {
    if let (Some(before), Some(now)) = (*before, now) {
        return Err(word.error(format!("{now:?} says {what}, and {before:?} does already; write one of them")));
    }
    *before = before.or(now);
    Ok(())
}

/// A word about which containers are meant.
fn which(line: &mut Line, word: &Word, matching: &mut Matching) -> Result<bool, ScriptError> {
    match word.text.as_str() {
        "of" => {
            let pod = line.next("the pod's name")?.text;
            let (ns, name) = pod.split_once('/').map_or((None, pod.as_str()), |(ns, name)| (Some(ns.to_owned()), name));
            (matching.namespace, matching.pod) = (ns, Some(name.to_owned()));
        }
        "on" => matching.node = Some(line.next("the node's name")?.text),
        text if text.starts_with("image=") => matching.image = Some(pair(word)?.1),
        text if text.starts_with("restart=") => {
            let count = pair(word)?.1;
            matching.restart_count = Some(count.parse().map_err(|_| word.error("write restart=0, restart=1, …"))?);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// A word about what they do.
fn what(line: &mut Line, word: &Word, behaviour: &mut Behaviour) -> Result<bool, ScriptError> {
    match word.text.as_str() {
        "runs" => behaviour.run = run(line)?,
        "exit" | "exits" => behaviour.ending.exit_code = line.next("the exit code")?.number()?,
        "killed" => behaviour.ending = Ending { message: behaviour.ending.message.clone(), ..Ending::signal(9) },
        "oom" => {
            behaviour.ending = Ending { message: behaviour.ending.message.clone(), ..Ending::out_of_memory() };
            if line.take("after") {
                behaviour.run = Run::For(line.next("after how long")?.duration()?);
            }
        }
        "says" => say(line, behaviour, Stream::Stdout)?,
        "mutters" => say(line, behaviour, Stream::Stderr)?,
        "logs" => behaviour.volumes.push(volume(line)?),
        "writes" => {
            let path = line.next("the file's path")?.text;
            let content = content(line)?;
            let after = at(line)?;
            behaviour.writes.push(Write { after, path, content: Content::Bytes(content.into()) });
        }
        "fills" => {
            let path = line.next("the file's path")?.text;
            let size = line.next("its size in bytes")?.number()?;
            let after = at(line)?;
            behaviour.writes.push(Write { after, path, content: Content::Size(size) });
        }
        "message" => {
            behaviour.ending.message = Message::Text(line.next("the message, in quotation marks")?.text.into())
        }
        "hands-over" => {
            let ending = Ending { message: Message::File(line.next("the file's path")?.text), ..Ending::exit(0) };
            behaviour.on_term = OnTerm::Ends { after: Duration::ZERO, ending };
        }
        "on-term" => behaviour.on_term = on_term(line)?,
        "not-executable" => {
            behaviour.start = Start::NotExecutable(line.next("the runtime's error, in quotation marks")?.text)
        }
        "cannot-start" => behaviour.start = Start::Fails(line.next("the runtime's error, in quotation marks")?.text),
        _ => return Ok(false),
    }
    Ok(true)
}

/// What is written: a text, or `json of 5000 bytes`.
fn content(line: &mut Line) -> Result<String, ScriptError> {
    let word = line.next("its content, in quotation marks, or json of so many bytes")?;
    if word.text != "json" || !line.take("of") {
        return Ok(word.text);
    }
    let size = line.next("how many bytes")?.number()?;
    line.expect("bytes")?;
    Ok(json_of(size))
}

/// A JSON value of that many bytes, at least two: a text of `x`.
pub fn json_of(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes.saturating_sub(2)))
}

fn run(line: &mut Line) -> Result<Run, ScriptError> {
    if line.take("forever") {
        return Ok(Run::UntilStopped);
    }
    if line.take("until") {
        let container = line.next("the other container's name")?.text;
        line.expect("ends")?;
        return Ok(Run::UntilEnded { container, after: Duration::ZERO });
    }
    Ok(Run::For(line.next("how long, forever, or until another ends")?.duration()?))
}

fn at(line: &mut Line) -> Result<Duration, ScriptError> {
    if line.take("at") { line.next("when")?.duration() } else { Ok(Duration::ZERO) }
}

fn say(line: &mut Line, behaviour: &mut Behaviour, stream: Stream) -> Result<(), ScriptError> {
    let text = line.next("what it says, in quotation marks")?.text;
    let after = at(line)?;
    behaviour.lines.push(SaidLine { after, stream, text: text.into(), newline: true });
    Ok(())
}

/// `logs 1000 lines [every 10ms] [of 80 bytes]`.
fn volume(line: &mut Line) -> Result<Volume, ScriptError> {
    let lines = line.next("how many lines")?.number()?;
    line.expect("lines")?;
    let every = if line.take("every") { line.next("how often")?.duration()? } else { Duration::ZERO };
    let width = if line.take("of") {
        let width = line.next("the width of a line")?.number()?;
        line.expect("bytes")?;
        width
    } else {
        80
    };
    Ok(Volume { after: Duration::ZERO, every, lines, width, stream: Stream::Stdout })
}

/// `on-term ignored`, `on-term exits 0 [after 2s]`.
fn on_term(line: &mut Line) -> Result<OnTerm, ScriptError> {
    let word = line.next("ignored or exits")?;
    match word.text.as_str() {
        "ignored" => Ok(OnTerm::Ignores),
        "exits" => {
            let ending = Ending::exit(line.next("the exit code")?.number()?);
            let after = if line.take("after") { line.next("after how long")?.duration()? } else { Duration::ZERO };
            Ok(OnTerm::Ends { after, ending })
        }
        _ => Err(Line::unknown(&word, &["ignored", "exits"])),
    }
}
