//! `kpo version`

use super::Done;
use clap::{Args, ValueEnum};
use std::process::ExitCode;

/// Print the version
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  kpo version -o json")]
pub(crate) struct VersionArgs {
    /// json: as an object, with the versions of the forms that kpo reads and writes
    #[arg(short, long, value_enum, value_name = "FORM")]
    output: Option<VersionForm>,
}

/// `-o` of `kpo version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum VersionForm {
    /// An object
    Json,
}

pub(super) fn version(args: &VersionArgs) -> Done {
    let version = env!("CARGO_PKG_VERSION");
    let text = match args.output {
        None => format!("kpo {version}\n"),
        Some(VersionForm::Json) => {
            let (state, events) = (kpo_core::STATE_VERSION, kpo_core::EVENT_VERSION);
            format!("{}\n", serde_json::json!({"version": version, "stateVersion": state, "eventVersion": events}))
        }
    };
    crate::printer::to_stdout(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}
