//! Running steps one after another, and saying what each took.

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

/// A line on stderr: stdout is the steps'.
pub(crate) fn say(line: &str) {
    // A closed stderr is nothing to fail for.
    let _ = writeln!(std::io::stderr(), "{line}");
}
