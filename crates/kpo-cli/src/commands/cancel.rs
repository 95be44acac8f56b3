//! `kpo cancel`

use super::attach::Attaching;
use super::{Done, OutputArgs};
use crate::connect::block_on;
use crate::options::{ConnectionArgs, OnSigterm};
use crate::session::Errand;
use crate::signals::Signals;
use clap::Args;

/// End a task: delete its pod, with grace
///
/// This process takes the task over from its observer, wherever that is, so that it is not run again. It waits for the pod's end, and exits
/// with 0 when the task has ended, even if it had ended before; with 66 where no pod of it is left.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CancelArgs {
    /// The task's id
    #[arg(value_name = "TASK", value_parser = crate::options::names::task)]
    pub(crate) task: String,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

const EXAMPLES: &str = "\
Example:
  kpo cancel fresh-squeeze -n batch";

pub(super) fn cancel(args: CancelArgs) -> Done {
    crate::trace::start(args.output.verbose);
    block_on(async move {
        let (connection, output) = (&args.connection, &args.output);
        let cancelling = Attaching { task: &args.task, errand: Errand::Cancel, file: None, connection, output };
        cancelling.run(Signals::catch(OnSigterm::Detach)?).await
    })
}
