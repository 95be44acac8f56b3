//! The figures, in groups that are measured together.

mod logs;
mod many;
mod one;
mod replacement;

use crate::lab_process::LabProcess;
use crate::table::{Row, Table};
use crate::{Error, core_figures, machine, say};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// By what the large sizes are divided: 1, or more to try the benchmark itself.
    pub(crate) divisor: u64,
}

/// A group of figures.
struct Group {
    name: &'static str,
    help: &'static str,
    measure: fn(Size) -> Result<Vec<Row>, Error>,
}

const GROUPS: &[Group] = &[
    Group { name: "one", help: "one task: requests, the way in and out, memory", measure: one::measure },
    Group { name: "replacement", help: "from the proof to the gated replacement", measure: replacement::measure },
    Group { name: "many", help: "requests, memory and CPU of many tasks in one process", measure: many::measure },
    Group {
        name: "logs",
        help: "1 GiB of log beside curl; a million lines through a hundred cuts",
        measure: logs::measure,
    },
    Group { name: "core", help: "the core: steps, bytes", measure: core_figures::measure },
];

/// Measures the groups of these names, all without a name; prints the table, and tells whether every target was met.
pub(crate) fn all(names: &[&str], divisor: u64) -> Result<bool, Error> {
    if let Some(unknown) = names.iter().find(|name| GROUPS.iter().all(|group| group.name != **name)) {
        let known: Vec<String> = GROUPS.iter().map(|group| format!("  {:12} {}", group.name, group.help)).collect();
        return Err(format!("there are no figures {unknown:?}; there are\n{}", known.join("\n")).into());
    }
    let machine = machine::describe();
    let size = Size { divisor };
    let mut rows = Vec::new();
    for group in GROUPS.iter().filter(|group| names.is_empty() || names.contains(&group.name)) {
        rows.extend((group.measure)(size)?);
    }
    say(&machine);
    if divisor > 1 {
        say(&format!("large sizes divided by {divisor}"));
    }
    say(&format!("\n{}", Table(&rows)));
    Ok(rows.iter().all(|row| row.is_met != Some(false)))
}

/// The command line that is measured: it lies beside this program.
fn kpo() -> Result<PathBuf, Error> {
    Ok(std::env::current_exe()?.with_file_name("kpo"))
}

/// `kpo run` of an image whose program the lab knows.
fn kpo_run(lab: &LabProcess, image: &str) -> Result<Command, Error> {
    let mut command = lab.command(kpo()?);
    command.args(["run", "--image", image]);
    Ok(command)
}

/// A program of this machine, if it is installed.
fn installed(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// A role of this program, as a process of its own.
fn role(lab: &LabProcess, arguments: &[&str]) -> Result<Command, Error> {
    let mut command = lab.command(std::env::current_exe()?);
    command.args(arguments);
    Ok(command)
}

/// The one in the middle.
fn median<T: Copy + PartialOrd + Default>(values: &[T]) -> T {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn millis(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn kib(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}
