//! `kpo why`

mod live;

use super::Done;
use crate::case::{self, PodCase};
use crate::connect::block_on;
use crate::error::{CliError, ErrorKind};
use crate::files::read_source;
use crate::options::{ConnectionArgs, Form};
use crate::printer::to_stderr;
use crate::records::{self, Record, Recording, What};
use crate::render::{self, Asked, Preemptor, WhyCase};
use clap::Args;
use kpo_core::AttemptRecord;
use kpo_core::reason::exit;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Say what became of a pod, and why that is believed
///
/// Of a task, of any pod in the cluster (kpo's or not), or of what was recorded: a Pod as JSON or YAML, what
/// 'kubectl get pods -w -o json --output-watch-events' prints, a list of kubectl's, or a recording of kpo's.
///
/// Of a pod that is gone only its events may be left, for an hour: they are shown, and prove nothing.
///
/// Exits with 0 whatever became of it, and with 66 where there is nothing to look at. For the task's own exit code: kpo wait.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WhyArgs {
    /// A task's id or a pod's name. With -f: the pod, by default the first that it shows
    #[arg(value_name = "POD", value_parser = crate::options::names::pod)]
    pub(crate) pod: Option<String>,
    /// What was recorded; - is standard input. No cluster is asked
    #[arg(short, long, value_name = "FILE", help_heading = "What to look at")]
    #[arg(conflicts_with_all = ["namespace", "context", "kubeconfig"])]
    pub(crate) file: Option<PathBuf>,
    /// The container that matters. Default: as for kpo run; of a pod that is not kpo's, all of them count
    #[arg(short, long, value_name = "NAME", help_heading = "What to look at")]
    pub(crate) container: Option<String>,
    /// An Outcome of one attempt, as JSON or YAML; its verdict is null while the pod lives. Default: for people
    #[arg(short, long, value_enum, value_name = "FORM", help_heading = "Output")]
    pub(crate) output: Option<Form>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

const EXAMPLES: &str = "\
Examples:
  kpo why fresh-squeeze-1
  kubectl get pods -w -o json --output-watch-events | tee seen.json    While it happens; later:
  kpo why -f seen.json my-pod";

pub(super) fn why(args: WhyArgs) -> Done {
    let text = match &args.file {
        Some(file) => explain(&recorded(file, &args)?, &Around::default(), args.output)?,
        None if args.pod.is_none() => {
            return Err(CliError::input("whose end? Name a task or a pod, or give what was recorded with -f FILE"));
        }
        None => block_on(live::explain(&args))?,
    };
    crate::printer::to_stdout(text.as_bytes())?;
    Ok(exit::SUCCESS)
}

/// What is known of a pod beside what was seen of it.
#[derive(Default)]
struct Around {
    /// What was before it, or followed.
    then: Option<String>,
    /// Who preempted it.
    preemptor: Option<Preemptor>,
    /// Whether it is in the cluster now.
    is_there: bool,
    /// What is appended to a command about it.
    again: String,
}

fn explain(case: &PodCase, around: &Around, form: Option<Form>) -> Result<String, CliError> {
    let (record, situation) = (case.record(), case.ledger.situation(case.until, &case.template));
    let shown = WhyCase {
        ledger: &case.ledger,
        template: &case.template,
        verdict: case.verdict.as_ref(),
        situation: &situation,
        attempt: case.attempt(),
        record: &record,
        spec: case.spec.as_ref(),
        asked: Asked(Some(&case.raw)),
        is_there: around.is_there,
        preemptor: around.preemptor.as_ref(),
        then: around.then.as_deref(),
        sights: case.sights,
        until: case.until,
        undated: &case.undated,
        again: &around.again,
    };
    let Some(form) = form else { return Ok(render::why_page(&shown)) };
    let mut outcome = case.outcome();
    if case.verdict.is_none() {
        outcome.message = shown.lives();
    }
    outcome.message = render::one_line(&outcome, shown.known());
    form.text(&outcome)
}

fn recorded(file: &Path, args: &WhyArgs) -> Result<PodCase, CliError> {
    let source = read_source(file)?;
    let Recording { records, cut } =
        records::read(&source.text).map_err(|error| CliError::input(format!("{}: {error}", source.name)))?;
    if let Some(line) = cut {
        to_stderr(&format!("note: {} is cut off at line {line}: what came after is not known", source.name));
    }
    let case = case::find(&records, args.pod.as_deref(), args.container.as_deref()).ok_or_else(|| {
        let pod = args.pod.as_ref().map(|pod| format!(" {pod}")).unwrap_or_default();
        CliError::new(ErrorKind::NotFound, format!("{} shows no pod{pod}", source.name))
            .hint(format!("It shows: {}", names(&records)))
    })?;
    super::demand_container(&case.pod, args.container.as_deref())?;
    demand_life(&case, &source.name)?;
    Ok(case)
}

/// Refuses a manifest: a pod that an API server has stored has a UID, and one of which there is something to say a status.
fn demand_life(case: &PodCase, source: &str) -> Result<(), CliError> {
    if !case.pod.metadata.uid.is_empty() || case.raw.get("status").is_some() {
        return Ok(());
    }
    let text = format!("{source}: pod {} was never in a cluster: it has no uid and no status", case.pod.metadata.name);
    Err(CliError::input(text).hint("What became of one is in what the cluster shows: kubectl get pod NAME -o yaml"))
}

fn names(records: &[Record]) -> String {
    let names: BTreeSet<&str> = records
        .iter()
        .filter_map(|record| match &record.what {
            What::Seen(_, pod, _) => Some(pod.metadata.name.as_str()),
            What::Told(_) => None,
        })
        .collect();
    if names.is_empty() { "events only".to_owned() } else { names.into_iter().collect::<Vec<_>>().join(", ") }
}

/// Its end in a few words.
fn ended(attempt: &AttemptRecord) -> String {
    attempt.verdict.as_ref().map_or_else(|| "not known".to_owned(), |judged| render::short_verdict(&judged.verdict))
}
