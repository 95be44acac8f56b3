//! `kpo sweep`

use super::Done;
use crate::connect::{FIRST_ANSWER, block_on};
use crate::error::CliError;
use crate::options::ConnectionArgs;
use crate::printer::{Printer, Tone, visible};
use clap::Args;
use kpo::KubernetesHook;
use kpo::manager::{DeleteOptions, Precondition, Written};
use kpo::request::Call;
use kpo_core::{Pod, Time, marks};
use serde::Deserialize;
use serde_json::Value;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
        let due: Vec<(Value, Due)> =
            pods.items.into_iter().filter_map(|pod| due(&pod, now).map(|due| (pod, due))).collect();
        for (pod, due) in &due {
            let done = if args.dry_run { false } else { remove(&hook, pod, *due).await? };
            printer.say(Tone::Plain, sentence(pod, *due, args.dry_run, done)).await;
        }
        if due.is_empty() {
            printer.say(Tone::Plain, "nothing to remove").await;
        }
        printer.finish().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Why a pod is to be swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// It was kept, and its time is over.
    Expired,
    /// It is to be deleted, and only kpo's finalizer holds it: no observer took it off.
    Held,
}

/// An observer takes its finalizer off within seconds; one that stands longer than this has none left.
const LEFT_BEHIND: Duration = Duration::from_secs(600);

/// What there is to do about a pod; only pods that have ended are touched.
fn due(pod: &Value, now: Time) -> Option<Due> {
    let pod = Pod::deserialize(pod).ok()?;
    if !pod.status.phase.is_terminal() {
        return None;
    }
    let protected = pod.metadata.finalizers.iter().any(|finalizer| finalizer == marks::FINALIZER);
    let deleted = pod.metadata.deletion_timestamp.as_deref().and_then(Time::parse);
    if deleted.is_some_and(|deleted| protected && now.since(deleted) > LEFT_BEHIND) {
        return Some(Due::Held);
    }
    let expires = pod.annotation(marks::EXPIRES).and_then(Time::parse)?;
    (expires <= now && deleted.is_none()).then_some(Due::Expired)
}

/// Whether it was removed. Not so: it changed or went meanwhile.
async fn remove(hook: &KubernetesHook, pod: &Value, due: Due) -> Result<bool, CliError> {
    let meta = &pod["metadata"];
    let (name, uid) = (meta["name"].as_str().unwrap_or_default(), meta["uid"].as_str().unwrap_or_default());
    let pods = hook.pods(meta["namespace"].as_str().unwrap_or_default());
    let call = Call::within(FIRST_ANSWER);
    let protected = meta["finalizers"].as_array().is_some_and(|list| list.iter().any(|name| name == marks::FINALIZER));
    let written = match due {
        Due::Held => pods.remove_finalizer(name, uid, marks::FINALIZER, call).await?,
        Due::Expired => {
            let precondition = Precondition::uid(uid).at(meta["resourceVersion"].as_str().unwrap_or_default());
            let written = pods.delete(name, &DeleteOptions { precondition, grace_seconds: None }, call).await?;
            match written {
                Written::Done(_) if protected => pods.remove_finalizer(name, uid, marks::FINALIZER, call).await?,
                written => written,
            }
        }
    };
    Ok(matches!(written, Written::Done(_)))
}

fn sentence(pod: &Value, due: Due, dry_run: bool, done: bool) -> String {
    let meta = &pod["metadata"];
    let text = |key: &str| visible(meta[key].as_str().unwrap_or_default()).into_owned();
    let what = match due {
        Due::Expired => "kept pod, expired",
        Due::Held => "pod held by kpo's finalizer alone",
    };
    let did = match (dry_run, done) {
        (true, _) => "would be removed",
        (false, true) => "removed",
        (false, false) => "left: it changed meanwhile",
    };
    format!("{}/{}: {what}: {did}", text("namespace"), text("name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_has_ended_and_is_over_is_swept() {
        let now = Time::parse("2026-11-23T22:30:00Z").unwrap();
        let pod = |phase: &str, expires: &str, deleted: Value, finalizers: Value| {
            let annotations = if expires.is_empty() { json!({}) } else { json!({marks::EXPIRES: expires}) };
            json!({"metadata": {"annotations": annotations, "deletionTimestamp": deleted, "finalizers": finalizers}, "status": {"phase": phase}})
        };
        let (none, ours) = (json!([]), json!([marks::FINALIZER]));
        let early = "2026-11-23T22:00:00Z";
        for (pod, wanted) in [
            (pod("Failed", early, Value::Null, none.clone()), Some(Due::Expired)),
            (pod("Failed", "2026-11-23T23:00:00Z", Value::Null, none.clone()), None),
            (pod("Running", early, Value::Null, none.clone()), None),
            (pod("Failed", "", Value::Null, none.clone()), None),
            (pod("Failed", "", json!(early), ours.clone()), Some(Due::Held)),
            (pod("Running", "", json!(early), ours.clone()), None),
            (pod("Failed", "", json!("2026-11-23T22:29:00Z"), ours), None),
            (pod("Failed", "", json!(early), json!(["others.io/x"])), None),
        ] {
            assert_eq!(due(&pod, now), wanted, "{pod}");
        }
    }
}
