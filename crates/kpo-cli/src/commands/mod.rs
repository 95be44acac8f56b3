//! The commands, one file each.

mod attach;
mod cancel;
mod completion;
mod find;
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
use kpo_core::Pod;
pub(crate) use run::{Output, OutputArgs};

/// What a command comes to: its exit code, or an error that is printed once, at the edge.
pub(crate) type Done = Result<i32, CliError>;

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
    #[command(name = "__complete", hide = true)]
    Complete(completion::CompleteArgs),
    Version(version::VersionArgs),
    Help(help::HelpArgs),
}

impl Commands {
    /// In which form objects are to stand on standard output, also where it comes to an error. `None`: none are asked for.
    pub(crate) fn output(&self) -> Option<Output> {
        match self {
            Commands::Run(args) => args.output.output,
            Commands::Attach(args) => args.output.output,
            Commands::Wait(args) => args.output.output,
            Commands::Cancel(args) => args.output.output,
            Commands::Ls(args) => args.output.map(Output::from),
            Commands::Why(args) => args.output.map(Output::from),
            Commands::Version(args) => args.output.map(Output::from),
            Commands::Logs(_)
            | Commands::Sweep(_)
            | Commands::Lab(_)
            | Commands::Completion(_)
            | Commands::Complete(_)
            | Commands::Help(_) => None,
        }
    }
}

/// Refuses a container that the pod has not.
fn demand_container(pod: &Pod, asked: Option<&str>) -> Result<(), CliError> {
    let mut all = pod.spec.init_containers.iter().chain(&pod.spec.containers).map(|container| container.name.as_str());
    let Some(asked) = asked.filter(|asked| !all.clone().any(|name| name == *asked)) else { return Ok(()) };
    let known = all.by_ref().collect::<Vec<_>>().join(", ");
    let text = format!("pod {} has no container {asked:?}. It has: {known}.", pod.metadata.name);
    Err(CliError::input(text))
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
        Commands::Complete(args) => completion::complete(&args, name),
        Commands::Version(args) => version::version(&args),
        Commands::Help(args) => help::help(&args, name),
    }
}
