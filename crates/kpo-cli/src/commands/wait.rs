//! `kpo wait`

use super::attach::Attaching;
use super::{Done, OutputArgs};
use crate::connect::block_on;
use crate::error::{CliError, ErrorKind};
use crate::options::{ConnectionArgs, Limit, OnSigterm, limit};
use crate::render::{program, span_text};
use crate::session::Errand;
use crate::signals::Signals;
use clap::Args;
use std::cell::RefCell;
use std::time::Duration;

/// Wait for a task's end, without its log
///
/// Exits as `kpo run` would: with the program's exit code, or one of kpo's own. It only follows: nothing is created or deleted.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WaitArgs {
    /// The task's id
    #[arg(value_name = "TASK", value_parser = crate::options::names::task)]
    pub(crate) task: String,
    /// Stop waiting after so long; the task is left as it is. Default: none
    #[arg(long, value_name = "SPAN", value_parser = limit, help_heading = "How")]
    pub(crate) timeout: Option<Limit>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

const EXAMPLES: &str = "\
Examples:
  kpo wait fresh-squeeze && echo done
  kpo wait fresh-squeeze -o json | jq .verdict";

pub(super) fn wait(args: WaitArgs) -> Done {
    crate::trace::start(args.output.verbose);
    block_on(async move {
        let (connection, output) = (&args.connection, &args.output);
        let waiting = Attaching { task: &args.task, errand: Errand::Wait, file: None, connection, output };
        let found = RefCell::new(None);
        let ended = waiting.run_telling(Signals::catch(OnSigterm::Detach)?, |again| {
            found.replace(Some(again.to_owned()));
        });
        match args.timeout.and_then(|limit| limit.0) {
            None => ended.await,
            Some(limit) => tokio::time::timeout(limit, ended)
                .await
                .unwrap_or_else(|_| Err(overdue(&args.task, limit, found.borrow().as_deref()))),
        }
    })
}

/// `found`: what is appended to a command about the task. `None`: it was not found yet.
fn overdue(task: &str, limit: Duration, found: Option<&str>) -> CliError {
    let limit = span_text(limit);
    let timeout = |text| CliError::new(ErrorKind::Timeout, text);
    match found {
        Some(again) => timeout(format!("task {task} has not ended within {limit}, and is left as it is"))
            .hint(format!("How it stands: {} why {task}{again}", program())),
        None => {
            timeout(format!("no answer from the cluster within {limit}: whether task {task} has ended is not known"))
        }
    }
}
