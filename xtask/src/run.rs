//! Running steps one after another, and saying what each took.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::time::Instant;

/// A named command.
pub(crate) struct Step {
    name: &'static str,
    command: Command,
}

impl Step {
    pub(crate) fn new(name: &'static str, command: Command) -> Self {
        Self { name, command }
    }

    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.command.env(key, value);
        self
    }

    pub(crate) fn args(mut self, arguments: &[String]) -> Self {
        self.command.args(arguments);
        self
    }
}

/// Cargo, as it runs us.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments);
    command
}

/// Runs the steps in order; the first that fails ends it.
pub(crate) fn all(steps: impl IntoIterator<Item = Step>) -> Result<(), String> {
    for mut step in steps {
        let began = Instant::now();
        let status = step.command.status().map_err(|error| format!("{}: {error}", step.name))?;
        if !status.success() {
            return Err(format!("{} failed ({status})", step.name));
        }
        say(&format!("{}: passed in {:.1} s", step.name, began.elapsed().as_secs_f64()));
    }
    Ok(())
}

/// Runs two steps at once. What the second says is in a file until the first has ended.
pub(crate) fn both(first: Step, mut second: Step) -> Result<(), String> {
    let place = std::env::temp_dir().join(format!("kpo-xtask-{}.log", std::process::id()));
    let log = File::create(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    let again = log.try_clone().map_err(|error| format!("{}: {error}", place.display()))?;
    second.command.stdout(log).stderr(again);
    let (first, second) = std::thread::scope(|scope| {
        let beside = scope.spawn(|| all([second]));
        (all([first]), beside.join().unwrap_or_else(|_| Err("a step panicked".to_owned())))
    });
    let said = fs::read(&place).unwrap_or_default();
    let _ = fs::remove_file(&place);
    // A closed stdout is nothing to fail for.
    let _ = std::io::stdout().write_all(&said);
    match (first, second) {
        (Err(first), Err(second)) => Err(format!("{first}; {second}")),
        (first, second) => first.and(second),
    }
}

/// A line on stderr: stdout is the steps'.
pub(crate) fn say(line: &str) {
    // A closed stderr is nothing to fail for.
    let _ = writeln!(std::io::stderr(), "{line}");
}
