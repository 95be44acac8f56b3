//! Running steps one after another, and saying what each took.

use std::io::Write;
use std::process::{Command, ExitStatus};
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
        passed(step.name, status, began)?;
    }
    Ok(())
}

/// Runs two steps at once. What the second says is shown when both have ended.
pub(crate) fn both(first: Step, mut second: Step) -> Result<(), String> {
    std::thread::scope(|scope| {
        let began = Instant::now();
        let beside = scope.spawn(move || {
            let output = second.command.output().map_err(|error| format!("{}: {error}", second.name))?;
            let result = passed(second.name, output.status, began);
            Ok::<_, String>((output, result))
        });
        let first = all([first]);
        let (output, second) = beside.join().map_err(|_| "a step panicked")??;
        // A closed stream is nothing to fail for.
        let _ = std::io::stderr().write_all(&output.stderr);
        let _ = std::io::stdout().write_all(&output.stdout);
        first.and(second)
    })
}

fn passed(name: &str, status: ExitStatus, began: Instant) -> Result<(), String> {
    if !status.success() {
        return Err(format!("{name} failed ({status})"));
    }
    say(&format!("{name}: passed in {:.1} s", began.elapsed().as_secs_f64()));
    Ok(())
}

/// A line on stderr: stdout is the steps'.
pub(crate) fn say(line: &str) {
    // A closed stderr is nothing to fail for.
    let _ = writeln!(std::io::stderr(), "{line}");
}
