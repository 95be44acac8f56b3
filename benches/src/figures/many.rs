//! Many tasks in one process with one watch.

use super::{Size, kib, role};
use crate::Error;
use crate::lab_process::LabProcess;
use crate::table::Row;
use crate::tasks::Taken;
use std::process::Stdio;

/// Tasks of which the requests are counted, and of which memory is measured.
const SOME: u64 = 100;
const MANY: u64 = 1000;

pub(super) fn measure(size: Size) -> Result<Vec<Row>, Error> {
    let mut rows = requests()?;
    rows.extend(memory((MANY / size.divisor).max(SOME))?);
    Ok(rows)
}

fn requests() -> Result<Vec<Row>, Error> {
    let ours = requests_of(&["tasks", &SOME.to_string(), "bench/short", "ends"])?;
    let plain = requests_of(&["plain", &SOME.to_string(), "bench/short"])?;
    Ok(vec![
        Row::against("API requests a task among 100 in one process", format!("{ours:.2}"), "≤ 3.2", ours <= 3.2)
            .beside(format!("plain kube client, each its own watch: {plain:.2}")),
    ])
}

/// Requests a task; those by which a process warms up (one list) are counted too.
fn requests_of(arguments: &[&str]) -> Result<f64, Error> {
    let mut lab = LabProcess::start(1)?;
    ask(&lab, arguments)?;
    Ok(lab.journal()?.len() as f64 / SOME as f64)
}

/// Runs a role; what it printed, if anything.
fn ask(lab: &LabProcess, arguments: &[&str]) -> Result<Taken, Error> {
    let output = role(lab, arguments)?.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{} ended with {}", arguments.join(" "), output.status).into());
    }
    if output.stdout.is_empty() { Ok(Taken::default()) } else { Ok(serde_json::from_slice(&output.stdout)?) }
}

fn memory(count: u64) -> Result<Vec<Row>, Error> {
    let number = count.to_string();
    let waiting = ask(&LabProcess::start(1)?, &["tasks", &number, "bench/idle", "waits"])?;
    let ending = ask(&LabProcess::start(1)?, &["tasks", &number, "bench/short", "ends"])?;
    let lab = LabProcess::start(1)?;
    let talking = ask(&lab, &["tasks", &number, "bench/idle", "talks"])?;
    let bare = ask(&lab, &["connections"])?;
    let each = |taken: &Taken| (taken.resident / taken.count.max(1), taken.heap / taken.count.max(1));
    let text = |(resident, heap): (u64, u64)| format!("{} resident, {} heap", kib(resident), kib(heap));
    Ok(vec![
        Row::against("a waiting task of 1,000, without a log stream", text(each(&waiting)), "≤ 20 KiB", {
            each(&waiting).0 <= 20 << 10
        }),
        Row::plain("a running task of 1,000, with its log stream", text(each(&talking)))
            .beside(format!("a bare TLS stream of the same client: {}", text(each(&bare)))),
        Row::plain("CPU of a task of 1,000, from its create to its deletion", {
            format!("{:.2} ms", ending.cpu as f64 / 1e6 / ending.count as f64)
        }),
        Row::plain("file descriptors: limit raised to", talking.descriptors.to_string()),
    ])
}
