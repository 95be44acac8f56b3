//! `kpo wait`

use super::attach::Attaching;
use super::{Done, OutputArgs};
use crate::connect::block_on;
use crate::error::{CliError, ErrorKind};
use crate::options::{ConnectionArgs, Limit, OnSigterm, limit};
use crate::render::span_text;
use crate::signals::Signals;
use clap::Args;

/// Wait for a task's end, without its log
///
/// Exits as `kpo run` would: with the program's exit code, or one of kpo's own. It only follows: nothing is created or deleted.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WaitArgs {
    /// The task's id
    #[arg(value_name = "TASK")]
    pub(crate) task: String,
    /// Stop waiting after so long; the task runs on. Default: none
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
        let waiting =
            Attaching { task: &args.task, take_over: false, file: None, with_logs: false, connection, output };
        let ended = waiting.run(Signals::catch(OnSigterm::Detach)?);
        match args.timeout.and_then(|limit| limit.0) {
            None => ended.await,
            Some(limit) => tokio::time::timeout(limit, ended).await.unwrap_or_else(|_| {
                let text = format!("task {} has not ended within {}; it runs on", args.task, span_text(limit));
                Err(CliError::new(ErrorKind::Timeout, text))
            }),
        }
    })
}
