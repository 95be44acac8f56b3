//! Logs: each line once.

use super::shell;
use crate::Error;
use crate::cluster::Namespace;
use crate::command::Ended;
use crate::container::container;
use crate::is_long;
use crate::ledger::Ledger;
use crate::proxy::Fault;
use std::ops::RangeInclusive;

/// More than the 10 MiB at which a kubelet rotates, which it looks at every 10 s (`containerLogMonitorInterval`).
const LINES: usize = 500_000;
/// Lines at once, with their timestamps more than 10 MiB too.
const BURST: usize = 250_000;
/// How a follow of the log is called.
const LOG: &str = "get pods/1/log base";
/// Bytes of the first hundred lines, with their timestamps.
const FIRST: u64 = 3300;

/// What a rotation takes away before the log is followed at all nobody can hand out any more: the burst waits for its follower.
pub(super) async fn burst(namespace: &Namespace<'_>) -> Result<(), Error> {
    let script = format!("sleep 2; seq 1 {LINES} | sed 's/^/this is line number /'");
    let ended = namespace.kpo("run", &shell(&[], &script)).await?.exits(0)?;
    let expected = (1..=LINES).map(|number| format!("this is line number {number}"));
    let mut lines = ended.stdout.lines();
    for line in expected {
        let is = lines.next();
        if is != Some(&line) {
            return Err(format!("expected {line:?}, is {is:?}; kpo said: {}", ended.stderr).into());
        }
    }
    lines.next().map_or(Ok(()), |line| Err(format!("a line too many: {line:?}").into()))
}

pub(super) async fn several_containers(namespace: &Namespace<'_>) -> Result<(), Error> {
    let side = format!("spec.containers[1]={}", container("side", "echo aside"));
    let ended = namespace.kpo("run", &shell(&["--set", &side], "sleep 2; echo hello")).await?;
    ended.exits(0)?.prints("hello\n")?.says("[side] aside").map(drop)
}

/// Several rotations: each is looked for every 10 s, and a pause lets a slow node come after. The long run writes on without one.
pub(super) async fn rotated_under_way(namespace: &Namespace<'_>) -> Result<(), Error> {
    let (bursts, pause) = if is_long() { (30, 0) } else { (6, 5) };
    let script = format!(
        "sleep 2; i=0; while [ $i -lt {bursts} ]; do seq $((i*{BURST}+1)) $(((i+1)*{BURST})); i=$((i+1)); sleep {pause}; done"
    );
    let task = namespace.start("run", &shell(&["-o", "json", "--on-finish", "keep"], &script))?;
    let counted = Counted::of(task.ended().await?.exits(0)?);
    counted.holes(bursts * BURST)?;
    let held = namespace.log("task-1", "base").await?;
    if held.starts_with("1\n") {
        return Err("the log was never rotated: this shows nothing".into());
    }
    if !counted.text.ends_with(&held) {
        return Err(format!("the node holds lines that were not shown; kpo said: {}", counted.said).into());
    }
    namespace.remove_leftovers().await
}

/// The kubelet rotates the log while no follow stands: what was in the old file is a gap, and it is named. Numbers go on being written, since the lab looks
/// at a log when something is.
pub(super) async fn log_rotates_behind_a_cut(namespace: &Namespace<'_>) -> Result<(), Error> {
    let ledger = Ledger::open(namespace).await?;
    let (proxy, cut) = namespace.switched("get pods/1/log", Fault::Lose).await?;
    let script = format!(
        "seq 1 100; until [ -e /ledger/burst ]; do sleep 0.1; done; seq 101 {BURST}; i={BURST}; \
        until [ -e /ledger/end ]; do i=$((i+1)); echo $i; sleep 0.5; done"
    );
    let task = namespace.start_as(proxy.kubeconfig(), "run", &ledger.run("task", &["-o", "json"], &script))?;
    let shown = || async { Ok(proxy.exchanges().iter().any(|one| one.asked.what == LOG && one.written() > FIRST)) };
    namespace.wait("the first lines are shown", shown).await?;
    cut.set(true);
    proxy.cut();
    ledger.allow("burst")?;
    let rotated = || async { Ok(!namespace.log("task-1", "base").await?.starts_with("1\n")) };
    namespace.wait("the log is rotated", rotated).await?;
    cut.set(false);
    namespace.saw(&proxy, LOG, proxy.count(LOG) + 1).await?;
    ledger.allow("end")?;
    let counted = Counted::of(task.ended().await?.exits(0)?);
    let last = counted.text.lines().last().unwrap_or_default().parse()?;
    let holes = counted.holes(last)?;
    if holes.len() != 1 {
        return Err(format!("lines are missing after {holes:?}, not at one place; kpo said: {}", counted.said).into());
    }
    namespace.is_empty().await
}

/// What a program that counts has printed, as `-o json` shows it: beside what kpo says, each in its place.
struct Counted {
    text: String,
    /// How many lines were printed before each gap that was named.
    gaps: Vec<usize>,
    said: String,
}

impl Counted {
    fn of(ended: Ended) -> Self {
        let (mut counted, mut count) = (Self { text: String::new(), gaps: Vec::new(), said: String::new() }, 0);
        for line in ended.stderr.lines() {
            if !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit()) {
                (counted.text, count) = (counted.text + line + "\n", count + 1);
                continue;
            }
            // Behind the time that it was seen at.
            let words = line.trim_start_matches(|c: char| c.is_ascii_digit() || "hms. ".contains(c));
            // Nothing else takes lines away from these bodies.
            if words.starts_with("gap: ") && words.contains("rotated") {
                counted.gaps.push(count);
            }
            counted.said += &format!("\n{line}");
        }
        counted
    }

    /// After which numbers some are missing; an error unless a gap was named at each of these places, and a number follows the one before at all
    /// others.
    fn holes(&self, last: usize) -> Result<Vec<usize>, Error> {
        let holes = holes(&self.text, last)?;
        let is_named = |hole: &&Hole| self.gaps.iter().any(|gap| hole.between.contains(gap));
        match holes.iter().find(|hole| !is_named(hole)) {
            None => Ok(holes.into_iter().map(|hole| hole.after).collect()),
            Some(hole) => {
                let (gaps, said) = (&self.gaps, &self.said);
                Err(format!("no gap was named at {hole:?}, but behind lines {gaps:?}; kpo said: {said}").into())
            }
        }
    }
}

/// Some numbers are missing.
#[derive(Debug, PartialEq, Eq)]
struct Hole {
    after: usize,
    /// Behind so many lines. The runtime cuts a line at a rotation, so one may be the beginning of one and the end of another: the hole is in it.
    between: RangeInclusive<usize>,
}

/// Each line has to be a number above the one before, and none above the last.
fn holes(text: &str, last: usize) -> Result<Vec<Hole>, Error> {
    let (mut before, mut holes) = (0, Vec::new());
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let next = lines.peek().and_then(|(_, line)| line.parse::<usize>().ok());
        match line.parse::<usize>() {
            Ok(number) if number == before + 1 && number <= last => before = number,
            _ if next.is_some_and(|next| next > before + 2 && is_glued(line, before + 1, next - 1)) => {
                holes.push(Hole { after: before, between: index..=index + 1 });
                before = next.unwrap_or_default() - 1;
            }
            // The beginning of the next one: its end is in a file that was rotated away.
            _ if next.is_none() && before < last && (before + 1).to_string().starts_with(line) => {
                holes.push(Hole { after: before, between: index + 1..=index + 1 });
                before = last;
            }
            Ok(number) if (before + 1..=last).contains(&number) => {
                holes.push(Hole { after: before, between: index..=index });
                before = number;
            }
            _ => return Err(format!("{line:?} after {before}").into()),
        }
    }
    // Nothing behind what is missing.
    let count = text.lines().count();
    holes.extend((before < last).then_some(Hole { after: before, between: count..=count }));
    Ok(holes)
}

fn is_glued(line: &str, begun: usize, ended: usize) -> bool {
    let (begun, ended) = (begun.to_string(), ended.to_string());
    (0..=line.len())
        .any(|at| line.is_char_boundary(at) && begun.starts_with(&line[..at]) && ended.ends_with(&line[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(stderr: &str) -> Counted {
        Counted::of(Ended { code: Some(0), stdout: String::new(), stderr: stderr.to_owned() })
    }

    #[test]
    fn a_hole_is_forgiven_only_where_a_gap_is_named() {
        let cases = [
            ("1\n2\n3\n", Ok(vec![])),
            ("1\ngap: rotated\n3\n", Ok(vec![1])),
            ("gap: rotated\n3\n", Ok(vec![0])),
            ("1\n2\ngap: rotated\n3\n", Ok(vec![])),
            ("1\n3\n", Err("no gap was named at Hole { after: 1")),
            ("gap: rotated\n1\n3\n", Err("no gap was named at Hole { after: 1")),
            ("1\n3\ngap: rotated\n", Err("no gap was named at Hole { after: 1")),
            ("1\n2\ngap: rotated\n", Ok(vec![2])),
            ("1\n2\ngap: gone\n", Err("no gap was named at Hole { after: 2")),
            ("1\n2\n", Err("no gap was named at Hole { after: 2")),
            ("1\ngap: rotated\n2\n", Err("no gap was named at Hole { after: 2")),
            ("1\n2\n3\n4\n", Err("\"4\" after 3")),
            ("1\n1\n2\n3\n", Err("\"1\" after 1")),
        ];
        for (stderr, expected) in cases {
            match (counted(stderr).holes(3), expected) {
                (Ok(holes), Ok(expected)) => assert_eq!(holes, expected, "{stderr:?}"),
                (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{stderr:?}: {error}"),
                (is, expected) => panic!("{stderr:?}: {is:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn a_line_that_a_rotation_has_cut_lies_in_its_hole() {
        for stderr in ["9\n10\ngap: rotated\n116\n17\n", "9\n10\n116\ngap: rotated\n17\n", "9\n10\n1\ngap: rotated\n"] {
            assert_eq!(
                counted(&format!("{}{stderr}", (1..9).map(|n| format!("{n}\n")).collect::<String>()))
                    .holes(17)
                    .expect("it is named"),
                [10]
            );
        }
    }
}
