//! The commands, one file each.

mod completion;
mod help;
mod run;
mod version;
mod why;

use crate::error::CliError;
use clap::Subcommand;
pub(crate) use run::OutputArgs;
use std::process::ExitCode;

/// What a command comes to: its exit code, or an error that is printed once, at the edge.
pub(crate) type Done = Result<ExitCode, CliError>;

#[derive(Subcommand)]
pub(crate) enum Commands {
    Why(why::WhyArgs),
    Completion(completion::CompletionArgs),
    Version(version::VersionArgs),
    Help(help::HelpArgs),
}

/// Runs it. `name`: how the program was called.
pub(crate) fn run(command: Commands, name: &'static str) -> Done {
    match command {
        Commands::Why(args) => why::why(args),
        Commands::Completion(args) => completion::completion(&args, name),
        Commands::Version(args) => version::version(&args),
        Commands::Help(args) => help::help(&args, name),
    }
}
