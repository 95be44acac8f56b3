//! From the process's arguments to its exit code.

use crate::commands::{self, Commands, Output};
use crate::env;
use crate::error::{CliError, ErrorKind};
use crate::printer::{Printer, to_stdout};
use crate::session::error_line;
use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::OnceLock;

/// Run a task as a Kubernetes pod to completion, and do not lose it
///
/// kpo runs a task as a pod, and does not lose it: not to preemption, eviction, a vanished node, a broken connection or its own death.
/// It never runs a task twice unless it was told that it may. Nothing is installed in the cluster: rights on pods suffice.
///
/// What the program prints goes to standard output, bare; what kpo has to say goes to standard error. The exit code is the program's.
#[derive(Parser)]
#[command(name = "kpo", version, max_term_width = 100, disable_help_subcommand = true, subcommand_required = true)]
#[command(
    arg_required_else_help = true,
    after_help = "'kpo help COMMAND' says more of a command; 'kpo help rerun' of when a task runs again."
)]
struct Cli {
    #[command(subcommand)]
    command: Commands,
}

/// The command line, for its help, its completion and its reference. `name`: how it is called (`kpo`, or `kubectl kpo`).
pub fn command(name: &'static str) -> clap::Command {
    let command = Cli::command().bin_name(name).after_long_help(after_help());
    if name == "kpo" { command } else { command.display_name("kpo") }
}

fn after_help() -> String {
    let mut text = String::from("Environment:\n");
    for variable in &env::ALL {
        let _ = writeln!(text, "  {:<15} {}", variable.name, variable.meaning);
    }
    text.push_str("\nExit codes:\n");
    for (code, meaning) in crate::error::exit_codes() {
        let _ = writeln!(text, "  {code:<15} {meaning}");
    }
    text.push_str("\n'kpo help COMMAND' says more of a command; 'kpo help rerun' of when a task runs again.");
    text
}

/// Runs the command that the process's arguments ask for.
pub fn main() -> ExitCode {
    ExitCode::from(run(std::env::args_os().collect()))
}

/// Runs the command that these arguments ask for, the first of them being the program's name, and returns what the process shall exit with.
/// The process is the command's meanwhile: its standard streams and its signals.
pub fn run(arguments: Vec<OsString>) -> u8 {
    // Beyond what a process can exit with there is only failure.
    u8::try_from(code(arguments)).unwrap_or(u8::MAX)
}

fn code(arguments: Vec<OsString>) -> i32 {
    let name = *CALLED_AS.get_or_init(|| called_as(arguments.first()));
    let is_run = arguments.iter().any(|argument| argument == "run");
    let matches = match command(name).try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return usage(&error, is_run),
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, is_run),
    };
    let output = cli.command.output();
    match guarded(|| commands::run(cli.command, name)) {
        Ok(code) => code,
        Err(error) => report(&error, output),
    }
}

/// A panic is said where it happens; it ends as a failure of kpo's own, and not as the program's.
fn guarded(run: impl FnOnce() -> Result<i32, CliError>) -> Result<i32, CliError> {
    let bug = |_| Err(CliError::new(ErrorKind::Bug, "what was under way may be left behind"));
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(bug)
}

static CALLED_AS: OnceLock<&str> = OnceLock::new();

/// How the program was called, for a command that is shown: `kpo`, or `kubectl kpo`.
pub(crate) fn program() -> &'static str {
    CALLED_AS.get().copied().unwrap_or("kpo")
}

/// kubectl finds its plugins by their file's name.
fn called_as(first: Option<&OsString>) -> &'static str {
    let stem = first.map(std::path::Path::new).and_then(|path| path.file_stem()).and_then(|stem| stem.to_str());
    if stem == Some("kubectl-kpo") || stem == Some("kubectl_kpo") { "kubectl kpo" } else { "kpo" }
}

/// clap prints its own errors, and help: exit code 2 for wrong usage, 0 for help.
fn usage(error: &clap::Error, is_run: bool) -> i32 {
    // A closed standard output is no failure: there is nobody left to tell.
    let _ = error.print();
    if is_run && is_stray_word(error) {
        crate::printer::to_stderr(&format!(
            "\nWhat is to run stands behind --, as for kubectl run:  {} run --image busybox -- echo hello",
            program()
        ));
    }
    error.exit_code()
}

/// Whether a word was given that is neither a flag nor a place's: `kpo run --image busybox echo hello`, as the arguments of `run`.
fn is_stray_word(error: &clap::Error) -> bool {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return false };
    error.kind() == clap::error::ErrorKind::UnknownArgument && !word.starts_with('-')
}

/// Says what went wrong; on standard output too, where objects were asked for.
fn report(error: &CliError, output: Option<Output>) -> i32 {
    Printer::plain().error(error);
    let object = output.map(|output| match output.object() {
        Some(form) => form.text(&error.object()).unwrap_or_default().into_bytes(),
        None => error_line(error),
    });
    // That it cannot be written changes nothing about the error.
    let _ = object.map(|object| to_stdout(&object));
    error.kind.exit_code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_of_kpos_own() {
        let error = guarded(|| panic!("a bug")).unwrap_err();
        assert_eq!((error.kind, error.kind.exit_code()), (ErrorKind::Bug, 125));
    }
}
