//! One task, undisturbed.

use super::{Size, installed, kpo_run, median, mib, millis};
use crate::Error;
use crate::lab_process::{LabProcess, Seen};
use crate::process::{self, Ran, between};
use crate::table::Row;
use std::time::Duration;

/// Runs of `kpo run`, and of kubectl beside it.
const RUNS: [usize; 2] = [21, 5];

/// What one run showed.
struct Run {
    requests: usize,
    /// From its start to its first request, as the server saw it.
    to_first: Duration,
    /// From the write that shows its container terminated to its exit.
    to_exit: Duration,
    peak: u64,
}

pub(super) fn measure(_: Size) -> Result<Vec<Row>, Error> {
    let mut lab = LabProcess::start(1)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS[0] {
        let ran = process::run(&mut kpo_run(&lab, "bench/short")?)?;
        ours.push(look(&mut lab, &ran, "kpo/")?);
    }
    if installed("kubectl") {
        for number in 0..RUNS[1] {
            let mut kubectl = lab.command("kubectl");
            kubectl.args(["run", &format!("kubectl-{number}"), "--image=bench/short", "--restart=Never", "--rm", "-i"]);
            let ran = process::run(&mut kubectl)?;
            theirs.push(look(&mut lab, &ran, "kubectl/")?);
        }
    }
    Ok(rows(&ours, &theirs))
}

/// What the lab saw of a run that has just ended.
fn look(lab: &mut LabProcess, ran: &Ran, agent: &str) -> Result<Run, Error> {
    if ran.code != 0 {
        return Err(format!("{agent} ended with {} after {:?}", ran.code, ran.took()).into());
    }
    let journal = lab.journal()?;
    let requests: Vec<&Seen> =
        journal.iter().filter(|seen| seen.at >= ran.began && seen.agent.starts_with(agent)).collect();
    let first = requests.first().ok_or("no request of it was seen")?;
    let create = requests.iter().find(|seen| seen.verb == "create" && seen.resource == "pods");
    let pod = create.map(|seen| seen.name.as_str()).ok_or("it created no pod")?;
    let writes = lab.writes()?;
    let ended = writes.iter().find(|change| change.pod == pod && change.what == "ended");
    let ended = ended.ok_or("its container did not end")?.at;
    Ok(Run {
        requests: requests.len(),
        to_first: between(ran.began, first.at),
        to_exit: between(ended, ran.ended),
        peak: ran.peak,
    })
}

/// One measure of all runs: the middle one.
fn of<T: Copy + PartialOrd + Default>(runs: &[Run], what: impl Fn(&Run) -> T) -> T {
    median(&runs.iter().map(what).collect::<Vec<T>>())
}

/// The same of kubectl, if it ran.
fn beside<T: Copy + PartialOrd + Default>(runs: &[Run], what: impl Fn(&Run) -> T, show: fn(T) -> String) -> String {
    if runs.is_empty() {
        "no kubectl here".to_owned()
    } else {
        format!("kubectl run --rm -i: {}", show(of(runs, what)))
    }
}

fn rows(ours: &[Run], theirs: &[Run]) -> Vec<Row> {
    let requests = ours.iter().map(|run| run.requests).max().unwrap_or_default();
    let (to_exit, to_first) = (of(ours, |run| run.to_exit), of(ours, |run| run.to_first));
    let peak = ours.iter().map(|run| run.peak).max().unwrap_or_default();
    let limit = Duration::from_millis(50);
    vec![
        Row::against("API requests of an undisturbed task, alone", requests.to_string(), "≤ 5", requests <= 5)
            .beside(beside(theirs, |run| run.requests, |count| count.to_string())),
        Row::against("terminated status written → exited, median", millis(to_exit), "≤ 50 ms", to_exit <= limit)
            .beside(beside(theirs, |run| run.to_exit, millis)),
        Row::against("kpo run → its first request, median", millis(to_first), "≤ 50 ms", to_first <= limit)
            .beside(beside(theirs, |run| run.to_first, millis)),
        Row::against("peak memory of the whole command, largest", mib(peak), "≤ 25 MiB", peak <= 25 << 20)
            .beside(beside(theirs, |run| run.peak, mib)),
    ]
}
