//! `kpo version`

use super::Done;
use crate::options::Form;
use clap::Args;
use kpo_core::reason::exit;

/// Print the version
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  kpo version -o json")]
pub(crate) struct VersionArgs {
    /// As an object, in JSON or YAML, with the versions of the forms that kpo reads and writes
    #[arg(short, long, value_enum, value_name = "FORM")]
    pub(crate) output: Option<Form>,
}

pub(super) fn version(args: &VersionArgs) -> Done {
    let version = env!("CARGO_PKG_VERSION");
    let text = match args.output {
        None => format!("kpo {version}\n"),
        Some(form) => {
            let (state, events) = (kpo_core::STATE_VERSION, kpo_core::EVENT_VERSION);
            form.text(&serde_json::json!({"version": version, "stateVersion": state, "eventVersion": events}))?
        }
    };
    crate::printer::to_stdout(text.as_bytes())?;
    Ok(exit::SUCCESS)
}
