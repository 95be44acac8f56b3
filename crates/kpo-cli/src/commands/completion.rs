//! `kpo completion`

use super::Done;
use clap::Args;
use clap_complete::Shell;
use std::process::ExitCode;

/// Print a script that completes kpo's commands and flags in a shell
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  source <(kpo completion bash)
  kpo completion zsh > \"${fpath[1]}/_kpo\"";

pub(super) fn completion(args: &CompletionArgs, name: &'static str) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::command(name), "kpo", &mut script);
    crate::printer::to_stdout(&script);
    Ok(ExitCode::SUCCESS)
}
