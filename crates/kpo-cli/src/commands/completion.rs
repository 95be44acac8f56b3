//! `kpo completion`

use super::Done;
use crate::complete;
use clap::builder::PossibleValue;
use clap::{Args, ValueEnum};
use clap_complete::Shell;
use kpo_core::reason::exit;

/// Print a script that completes kpo's commands and flags in a shell
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionArgs {
    /// The shell; or kubectl-plugin, for what kubectl completes with (kubectl_complete-kpo)
    #[arg(value_enum, value_name = "SHELL")]
    shell: For,
}

/// For whom.
#[derive(Clone, Copy, Debug)]
enum For {
    Shell(Shell),
    KubectlPlugin,
}

impl ValueEnum for For {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            For::Shell(Shell::Bash),
            For::Shell(Shell::Elvish),
            For::Shell(Shell::Fish),
            For::Shell(Shell::PowerShell),
            For::Shell(Shell::Zsh),
            For::KubectlPlugin,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            For::Shell(shell) => shell.to_possible_value(),
            For::KubectlPlugin => Some(PossibleValue::new("kubectl-plugin")),
        }
    }
}

/// What kubectl asks for
#[derive(Args, Debug)]
pub(crate) struct CompleteArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  source <(kpo completion bash)
  kpo completion zsh > \"${fpath[1]}/_kpo\"
  kpo completion kubectl-plugin > ~/bin/kubectl_complete-kpo; chmod +x ~/bin/kubectl_complete-kpo";

pub(super) fn completion(args: &CompletionArgs, name: &'static str) -> Done {
    let mut script = Vec::new();
    match args.shell {
        For::Shell(shell) => clap_complete::generate(shell, &mut crate::command(name), "kpo", &mut script),
        For::KubectlPlugin => script.extend(complete::SCRIPT.as_bytes()),
    }
    crate::printer::to_stdout(&script)?;
    Ok(exit::SUCCESS)
}

pub(super) fn complete(args: &CompleteArgs, name: &'static str) -> Done {
    let answer = complete::answer(&mut crate::command(name), &args.words);
    crate::printer::to_stdout(answer.as_bytes())?;
    Ok(exit::SUCCESS)
}
