//! Prints the figures of kpo beside their targets, and beside kubectl, curl or a plain client in the same run.
//!
//! One program with several roles, so that one build serves: without one it measures; `lab`, `tasks`, `connections`, `plain` and `crowd-tasks` are the
//! processes that it measures, or measures against.

mod core_figures;
mod crowd;
mod figures;
mod heap;
mod lab;
mod lab_process;
mod machine;
mod plain;
mod process;
mod table;
mod tasks;

use std::io::Write;
use std::process::ExitCode;

/// What may go wrong in a benchmark: it is said, and ends it.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["lab", scale] => role(lab::serve(scale)),
        ["tasks", count, image, until] => role(tasks::run(count, image, until)),
        ["connections"] => role(tasks::bare_connections()),
        ["plain", count, image] => role(plain::run(count, image)),
        ["crowd", cluster, count] => role(crowd::run(cluster, count)),
        ["crowd-tasks", namespace, count, victims, victim, task] => {
            role(crowd::tasks(namespace, count, victims, [victim, task]))
        }
        words => return measure(words),
    };
    done.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

fn measure(words: &[&str]) -> ExitCode {
    let (flags, names): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| word.starts_with('-'));
    let mut divisor = 1;
    for flag in flags.iter().filter(|flag| **flag != "--check") {
        divisor = match flag.strip_prefix("--divide=").map(str::parse) {
            Some(Ok(number @ 1..)) => number,
            None if *flag == "--small" => 100,
            _ => return failed(&format!("there is no flag {flag}: --check, --small, --divide=NUMBER").into()),
        };
    }
    match figures::all(&names, divisor) {
        Ok(is_met) if is_met || !flags.contains(&"--check") => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => failed(&error),
    }
}

/// Runs a role on this thread, as the command line does.
fn role(work: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    process::raise_descriptor_limit()?;
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2000).build()?.block_on(work)
}

fn failed(error: &Error) -> ExitCode {
    // A closed stderr is nothing to fail for.
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(2)
}

/// One line on standard output, at once.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
