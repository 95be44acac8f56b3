//! `kpo sweep`

use super::Done;
use crate::connect::{FIRST_ANSWER, block_on};
use crate::error::CliError;
use crate::options::ConnectionArgs;
use crate::printer::{Printer, Tone, visible};
use crate::render;
use clap::Args;
use kpo::KubernetesHook;
use kpo::manager::Written;
use kpo::request::{Call, RequestError};
use kpo_core::reason::exit;
use kpo_core::sweep::{self, Due};
use kpo_core::{Pod, Time, marks};
use serde::Deserialize;
use std::time::{SystemTime, UNIX_EPOCH};

/// Remove what is no longer needed: kept pods that have expired, finalizers of kpo's that were left behind
///
/// Only pods that have ended are touched. A pod that was deleted and is held by kpo's finalizer alone is released ten minutes after its deletion:
/// an observer that is alive takes it off within seconds.
///
/// A pod that is kept without a time (--on-finish=keep, keep-failed) stays until it is deleted: kubectl delete pod POD.
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
        let mut first_failure = None;
        let mut is_empty = true;
        for pod in pods.items.into_iter().filter_map(|pod| Pod::deserialize(pod).ok()) {
            let Some((at, due)) = sweep::due(&pod) else { continue };
            is_empty = false;
            if at > now {
                // Kept pods that have not expired are what their owner asked for.
                if due == Due::Held {
                    printer.say(Tone::Plain, sentence(&pod, due, &format!("left until {}", render::minute(at))));
                }
                continue;
            }
            let done = remove(&hook, &pod, due, args.dry_run).await;
            let (tone, did) = match &done {
                Ok(did) => (Tone::Plain, (*did).to_owned()),
                Err(error) => (Tone::Bad, format!("left: {}", render::explained(&error.failure.to_string()).0)),
            };
            printer.say(tone, sentence(&pod, due, &did));
            first_failure = first_failure.or(done.err());
        }
        if is_empty {
            printer.say(Tone::Plain, "nothing to remove");
        }
        printer.finish().await;
        first_failure.map_or(Ok(exit::SUCCESS), |error| Err(CliError::from(error)))
    })
}

/// What became of it. One that cannot be removed does not keep the others.
async fn remove(hook: &KubernetesHook, pod: &Pod, due: Due, dry_run: bool) -> Result<&'static str, RequestError> {
    if dry_run {
        return Ok("would be removed");
    }
    let manager = hook.pods(&*pod.metadata.namespace);
    Ok(match manager.sweep(pod, due, Call::within(FIRST_ANSWER)).await? {
        Written::Done(_) => "removed",
        Written::Gone | Written::Conflict => "left: it changed meanwhile",
    })
}

fn sentence(pod: &Pod, due: Due, did: &str) -> String {
    let what = match due {
        Due::Expired => "kept pod, expired",
        Due::Held => "pod held by kpo's finalizer alone",
    };
    format!("{}/{}: {what}: {did}", visible(&pod.metadata.namespace), visible(&pod.metadata.name))
}
