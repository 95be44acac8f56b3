//! `kpo cancel`

use super::Done;
use crate::connect::block_on;
use crate::options::ConnectionArgs;
use crate::printer::{Printer, Tone};
use crate::render;
use clap::Args;
use kpo::driver::{self, AttachRequest, What};
use kpo_core::Stop;
use std::process::ExitCode;

/// End a task: delete its pod, with grace
///
/// This process takes the task over from its observer, wherever that is, so that it is not run again.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CancelArgs {
    /// The task's id
    #[arg(value_name = "TASK")]
    pub(crate) task: String,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

const EXAMPLES: &str = "\
Example:
  kpo cancel fresh-squeeze -n batch";

pub(super) fn cancel(args: CancelArgs) -> Done {
    block_on(async move {
        let hook = args.connection.connect().await?;
        let namespace = args.connection.namespace(&hook);
        let request =
            AttachRequest { task: args.task.clone(), namespace: namespace.clone(), take_over: true, template: None };
        let running = driver::attach(&hook, request).await;
        let mut running =
            running.map_err(|error| super::attach::failed(error, &args.task, &namespace, &args.connection))?;
        let container = running.spec().template.container.clone();
        running.stopper().stop(Stop::User);
        let printer = Printer::plain();
        let mut outcome = None;
        while let Some(event) = running.next().await {
            match event.what {
                What::Trouble(why) => printer.say(Tone::Odd, format!("not yet: {why}")).await,
                What::Outcome(delivery) => outcome = Some(delivery.taken()),
                _ => {}
            }
        }
        if let Some(outcome) = outcome {
            let known = render::Known { container: &container, ..render::Known::default() };
            let ending = render::ending(&outcome, known);
            printer.say(ending.tone, format!("{}: {}", args.task, ending.line)).await;
        }
        printer.finish().await;
        Ok(ExitCode::SUCCESS)
    })
}
