//! `kpo why`

mod live;

use super::Done;
use crate::case::{self, PodCase};
use crate::connect::block_on;
use crate::error::{CliError, ErrorKind};
use crate::files::read_source;
use crate::options::ConnectionArgs;
use crate::records::{self, Record, What};
use crate::render::{self, WhyCase};
use clap::{Args, ValueEnum};
use kpo_core::Outcome;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Say what became of a pod, and why that is believed
///
/// Of a task, of any pod in the cluster (kpo's or not), or of what was recorded: a Pod as JSON or YAML, what
/// 'kubectl get pods -w -o json --output-watch-events' prints, a list of kubectl's, or a recording of kpo's.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WhyArgs {
    /// A task's id or a pod's name. With -f: the pod, by default the first that it shows
    #[arg(value_name = "POD")]
    pub(crate) pod: Option<String>,
    /// What was recorded; - is standard input
    #[arg(short, long, value_name = "FILE", help_heading = "What to look at")]
    pub(crate) file: Option<PathBuf>,
    /// The container that matters. Default: as for kpo run; of a pod that is not kpo's, all of them count
    #[arg(short, long, value_name = "NAME", help_heading = "What to look at")]
    pub(crate) container: Option<String>,
    /// json: an Outcome of one attempt; its verdict is null while the pod lives. Default: for people
    #[arg(short, long, value_enum, value_name = "FORM", help_heading = "Output")]
    pub(crate) output: Option<WhyForm>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// `-o` of `kpo why`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhyForm {
    /// An Outcome
    Json,
}

const EXAMPLES: &str = "\
Examples:
  kpo why fresh-squeeze-1
  kubectl get pods -w -o json --output-watch-events | tee seen.json    While it happens; later:
  kpo why -f seen.json my-pod";

pub(super) fn why(args: WhyArgs) -> Done {
    let text = match &args.file {
        Some(file) => explain(&recorded(file, &args)?, None, args.output)?,
        None if args.pod.is_none() => {
            return Err(CliError::input("whose end? Name a task or a pod, or give what was recorded with -f FILE"));
        }
        None => block_on(live::explain(&args))?,
    };
    crate::printer::to_stdout(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

fn explain(case: &PodCase, then: Option<&str>, form: Option<WhyForm>) -> Result<String, CliError> {
    match form {
        Some(WhyForm::Json) => json(case.outcome()),
        None => Ok(page(case, then)),
    }
}

fn recorded(file: &Path, args: &WhyArgs) -> Result<PodCase, CliError> {
    let source = read_source(file)?;
    let records = records::read(&source.text).map_err(|error| CliError::input(format!("{}: {error}", source.name)))?;
    case::find(&records, args.pod.as_deref(), args.container.as_deref()).ok_or_else(|| {
        let pod = args.pod.as_deref().unwrap_or("any");
        CliError::new(ErrorKind::NotFound, format!("{} shows no pod {pod}", source.name))
            .hint(format!("It shows: {}", names(&records)))
    })
}

fn names(records: &[Record]) -> String {
    let names: BTreeSet<&str> = records
        .iter()
        .filter_map(|record| match &record.what {
            What::Seen(_, pod) => Some(pod.metadata.name.as_str()),
            What::Told(_) => None,
        })
        .collect();
    if names.is_empty() { "no pod at all".to_owned() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
}

fn json(mut outcome: Outcome) -> Result<String, CliError> {
    outcome.message = render::one_line(&outcome, render::Known::default());
    let text = serde_json::to_string_pretty(&outcome)
        .map_err(|error| CliError::because(ErrorKind::Local, "cannot write JSON", &error))?;
    Ok(format!("{text}\n"))
}

fn page(case: &PodCase, then: Option<&str>) -> String {
    let situation = case.ledger.situation(case.until, &case.template);
    render::why_page(&WhyCase {
        ledger: &case.ledger,
        verdict: case.verdict.as_ref(),
        situation: &situation,
        attempt: case.attempt(),
        then,
        sights: case.sights,
        until: case.until,
    })
}
