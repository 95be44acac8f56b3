//! `kpo sweep`

use super::Done;
use crate::connect::{FIRST_ANSWER, block_on};
use crate::options::ConnectionArgs;
use crate::printer::{Printer, Tone, visible};
use clap::Args;
use kpo::manager::Written;
use kpo::request::Call;
use kpo_core::sweep::{self, Due};
use kpo_core::{Pod, Time, marks};
use serde::Deserialize;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

/// Remove what is no longer needed: kept pods that have expired, finalizers of kpo's that were left behind
///
/// Only pods that have ended are touched.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SweepArgs {
    /// Say what would be removed, and remove nothing
    #[arg(long, help_heading = "How")]
    pub(crate) dry_run: bool,
    /// In all namespaces
    #[arg(short = 'A', long, help_heading = "Which")]
    pub(crate) all_namespaces: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

const EXAMPLES: &str = "\
Example:
  kpo sweep --dry-run -n batch";

pub(super) fn sweep(args: SweepArgs) -> Done {
    block_on(async move {
        let hook = args.connection.connect().await?;
        let namespace = if args.all_namespaces { String::new() } else { args.connection.namespace(&hook) };
        let pods = hook.pods(namespace).list(marks::TASK, Call::within(FIRST_ANSWER)).await?;
        let now = Time::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let printer = Printer::plain();
        let pods = pods.items.into_iter().filter_map(|pod| Pod::deserialize(pod).ok());
        let is_due = |pod: Pod| sweep::due(&pod).filter(|(at, _)| *at <= now).map(|(_, due)| (pod, due));
        let due: Vec<(Pod, Due)> = pods.filter_map(is_due).collect();
        for (pod, due) in &due {
            let manager = hook.pods(&*pod.metadata.namespace);
            let done = match args.dry_run {
                true => false,
                false => matches!(manager.sweep(pod, *due, Call::within(FIRST_ANSWER)).await?, Written::Done(_)),
            };
            printer.say(Tone::Plain, sentence(pod, *due, args.dry_run, done)).await;
        }
        if due.is_empty() {
            printer.say(Tone::Plain, "nothing to remove").await;
        }
        printer.finish().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn sentence(pod: &Pod, due: Due, dry_run: bool, done: bool) -> String {
    let what = match due {
        Due::Expired => "kept pod, expired",
        Due::Held => "pod held by kpo's finalizer alone",
    };
    let did = match (dry_run, done) {
        (true, _) => "would be removed",
        (false, true) => "removed",
        (false, false) => "left: it changed meanwhile",
    };
    format!("{}/{}: {what}: {did}", visible(&pod.metadata.namespace), visible(&pod.metadata.name))
}
