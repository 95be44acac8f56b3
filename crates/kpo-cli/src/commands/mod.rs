//! The commands, one file each.

mod attach;
mod cancel;
mod completion;
mod help;
mod lab;
mod logs;
mod ls;
mod run;
mod sweep;
mod version;
mod wait;
mod why;

use crate::error::CliError;
use clap::Subcommand;
pub(crate) use run::{Output, OutputArgs};
use std::process::ExitCode;

/// What a command comes to: its exit code, or an error that is printed once, at the edge.
pub(crate) type Done = Result<ExitCode, CliError>;

#[derive(Subcommand)]
pub(crate) enum Commands {
    Run(Box<run::RunArgs>),
    Attach(attach::AttachArgs),
    Wait(wait::WaitArgs),
    Logs(logs::LogsArgs),
    Cancel(cancel::CancelArgs),
    Ls(ls::LsArgs),
    Why(why::WhyArgs),
    Sweep(sweep::SweepArgs),
    Lab(lab::LabArgs),
    Completion(completion::CompletionArgs),
    Version(version::VersionArgs),
    Help(help::HelpArgs),
}

/// Runs it. `name`: how the program was called.
pub(crate) fn run(command: Commands, name: &'static str) -> Done {
    match command {
        Commands::Run(args) => run::run(*args),
        Commands::Attach(args) => attach::attach(args),
        Commands::Wait(args) => wait::wait(args),
        Commands::Logs(args) => logs::logs(args),
        Commands::Cancel(args) => cancel::cancel(args),
        Commands::Ls(args) => ls::ls(args),
        Commands::Why(args) => why::why(args),
        Commands::Sweep(args) => sweep::sweep(args),
        Commands::Lab(args) => lab::lab(args),
        Commands::Completion(args) => completion::completion(&args, name),
        Commands::Version(args) => version::version(&args),
        Commands::Help(args) => help::help(&args, name),
    }
}
