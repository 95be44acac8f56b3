//! `kpo help`

use super::Done;
use crate::error::CliError;
use crate::pages;
use crate::topics;
use clap::Args;
use kpo_core::reason::exit;

/// Say more of a command, or of a topic: rerun, scripts, exit-codes, preemption, reasons
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  kpo help run\n  kpo help rerun\n  kpo help scripts\n  kpo help out-of-memory")]
pub(crate) struct HelpArgs {
    /// A command, a topic, or a reason
    #[arg(value_name = "COMMAND")]
    subject: Option<String>,
}

pub(super) fn help(args: &HelpArgs, name: &'static str) -> Done {
    let text = match args.subject.as_deref() {
        None => crate::command(name).render_long_help().ansi().to_string(),
        Some(subject) => match topics::topic(subject).or_else(|| pages::page(subject)) {
            Some(text) => text,
            None => command_help(subject, name)?,
        },
    };
    crate::printer::styled_to_stdout(&text)?;
    Ok(exit::SUCCESS)
}

fn command_help(subject: &str, name: &'static str) -> Result<String, CliError> {
    let mut command = crate::command(name);
    command.build();
    let found = command.find_subcommand_mut(subject).map(|found| found.render_long_help().ansi().to_string());
    found.ok_or_else(|| {
        CliError::input(format!("there is no command, topic or reason {subject:?}"))
            .hint(format!("'{name} help' lists the commands, '{name} help reasons' the reasons"))
    })
}
