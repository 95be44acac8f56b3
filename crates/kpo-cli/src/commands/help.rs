//! `kpo help`

use super::Done;
use crate::error::CliError;
use crate::topics;
use clap::Args;
use std::process::ExitCode;

/// Say more of a command, or of a topic: rerun, scripts, exit-codes
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  kpo help run\n  kpo help rerun\n  kpo help scripts")]
pub(crate) struct HelpArgs {
    /// A command or a topic
    #[arg(value_name = "COMMAND")]
    subject: Option<String>,
}

pub(super) fn help(args: &HelpArgs, name: &'static str) -> Done {
    let text = match args.subject.as_deref() {
        None => crate::command(name).render_long_help().ansi().to_string(),
        Some(subject) => match topics::topic(subject) {
            Some(text) => text,
            None => command_help(subject, name)?,
        },
    };
    crate::printer::styled_to_stdout(&text);
    Ok(ExitCode::SUCCESS)
}

fn command_help(subject: &str, name: &'static str) -> Result<String, CliError> {
    let mut command = crate::command(name);
    command.build();
    let found = command.find_subcommand_mut(subject).map(|found| found.render_long_help().ansi().to_string());
    found.ok_or_else(|| {
        CliError::input(format!("there is no command or topic {subject:?}")).hint(format!("'{name} help' lists them"))
    })
}
