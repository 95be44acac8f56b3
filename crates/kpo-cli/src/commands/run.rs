//! `kpo run`

use crate::options::{ConnectionArgs, Disturb, ExitZero, Limit, OnSigterm, OnUnsigned, RerunWhen, Transport};
use crate::options::{limit, on_finish, span};
use clap::{Args, ValueEnum};
use kpo_core::OnFinish;
use std::path::PathBuf;
use std::time::Duration;

/// Run a task to its end
///
/// Creates the pod, follows it, prints what its program prints, and exits with its exit code. If the pod is taken away before
/// anything of it ran (a preemption on a fresh node, for one), kpo proves that, says so, and makes the next attempt.
///
/// There is no standard input and no terminal in the pod: a task runs unattended.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) what: WhatArgs,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) again: AgainArgs,
    #[command(flatten)]
    pub(crate) clocks: ClockArgs,
    #[command(flatten)]
    pub(crate) result: ResultArgs,
    #[command(flatten)]
    pub(crate) keeping: KeepingArgs,
    #[command(flatten)]
    pub(crate) how: HowArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

const EXAMPLES: &str = "\
Examples:
  kpo run --lab=preemption examples/orange-juice.yaml     See it: a pod is preempted before it ran, and runs on the next node
  kpo run --image busybox -- echo hello                   On your cluster
  kpo run -f job.yaml -n batch --timeout 2h               A Pod, PodTemplate, Job or CronJob
  kpo run -f job.yaml --rerun=idempotent --retries 2      It may run twice; failures of the program are retried twice
  kpo run -f job.yaml --set 'containers[name=base].resources.limits.memory=2Gi'
  kpo run -f job.yaml --detach                            Start it, print its id, leave; later: kpo attach ID";

/// What to run.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "What to run")]
pub(crate) struct WhatArgs {
    /// A Pod, a PodTemplate, a Job or a CronJob (its template), in YAML or JSON; - is standard input
    #[arg(value_name = "FILE", conflicts_with = "file")]
    pub(crate) manifest: Option<PathBuf>,
    /// The same, as kubectl has it
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The image of the task's own container
    #[arg(long, value_name = "IMAGE")]
    pub(crate) image: Option<String>,
    /// The task's name, its id. Default: the manifest's, else one made of the image's name
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Set a value of the pod, typed as in YAML: spec.nodeSelector.disk=ssd, containers[0].image=busybox,
    /// containers[name=base].tty=false. Repeatable
    #[arg(long, value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// Set an environment variable of the task's own container. Repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// The task's own container: with its end the task ends. Default: the manifest's kubectl.kubernetes.io/default-container,
    /// else "base", else the first
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Take what follows -- as the command (the image's entrypoint is replaced), not as its arguments
    #[arg(long)]
    pub(crate) command: bool,
    /// Arguments of the task's own container
    #[arg(last = true, value_name = "ARG")]
    pub(crate) args: Vec<String>,
}

/// When it may run again.
#[derive(Args, Debug)]
#[command(next_help_heading = "When it runs again")]
pub(crate) struct AgainArgs {
    /// When a task whose pod was taken away runs again
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = RerunWhen::IfNotStarted)]
    pub(crate) rerun: RerunWhen,
    /// How often at most, when nothing of it had run
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) rerun_never_started: u32,
    /// How often at most, when it had run or may have
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) rerun_started: u32,
    /// How often the program is run again when it fails; apart from the two above
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) retries: u32,
    /// What a deletion means that nobody signed (no scheduler, autoscaler, node)
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnUnsigned::End)]
    pub(crate) on_unsigned_delete: OnUnsigned,
    /// What exit code 0 means after somebody else's deletion request
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = ExitZero::Success)]
    pub(crate) exit_zero_after_term: ExitZero,
    /// Replace a pod whose node does not answer after so long, at the risk that it still runs there. Default: never
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) replace_unreachable_after: Option<Duration>,
    /// Whether autoscalers may move the pod. Default: deny, but allow with --rerun=idempotent
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) disturb: Option<Disturb>,
}

/// How long each part may take.
#[derive(Args, Debug)]
#[command(next_help_heading = "Clocks (90s, 10m, 1h30m, none)")]
pub(crate) struct ClockArgs {
    /// Time in a queue's gate (Kueue and others). Default: none
    #[arg(long, value_name = "SPAN", value_parser = limit)]
    pub(crate) queue_timeout: Option<Limit>,
    /// Time until it has a node; a scale-up on its way is not charged, 15 minutes at most. Default: none
    #[arg(long, value_name = "SPAN", value_parser = limit)]
    pub(crate) schedule_timeout: Option<Limit>,
    /// Time without progress from its node to its start (pull, init containers). Default: 10m
    #[arg(long, value_name = "SPAN", value_parser = limit)]
    pub(crate) start_timeout: Option<Limit>,
    /// Time in all, all attempts together; the pod carries it too, and so ends unwatched. Default: the Job's, else none
    #[arg(long, value_name = "SPAN", value_parser = limit)]
    pub(crate) timeout: Option<Limit>,
    /// End at once on an image error that cannot heal, instead of with the start clock
    #[arg(long)]
    pub(crate) fail_fast_images: bool,
}

/// What it hands back.
#[derive(Args, Debug)]
#[command(next_help_heading = "Result")]
pub(crate) struct ResultArgs {
    /// Hand back what the program writes to this file. Default path: /airflow/xcom/return.json
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = RESULT_PATH)]
    pub(crate) result: Option<String>,
    /// How it gets out of the pod
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Transport::Sidecar)]
    pub(crate) results: Transport,
    /// The sidecar's image, for --results=sidecar and exec: any with a shell
    #[arg(long, value_name = "IMAGE")]
    pub(crate) results_image: Option<String>,
}

/// Where upstream's operator expects it.
const RESULT_PATH: &str = "/airflow/xcom/return.json";

/// What stays.
#[derive(Args, Debug)]
#[command(next_help_heading = "What stays")]
pub(crate) struct KeepingArgs {
    /// What becomes of the last pod: delete, keep, keep-failed, or keep-failed=2h
    #[arg(long, value_name = "WHAT", value_parser = on_finish, default_value = "delete")]
    pub(crate) on_finish: OnFinish,
    /// Protect the pod with a finalizer: its last state cannot vanish unseen
    #[arg(long)]
    pub(crate) protect: bool,
}

/// How it is run.
#[derive(Args, Debug)]
#[command(next_help_heading = "How")]
pub(crate) struct HowArgs {
    /// Run it on an embedded cluster of its own: quiet, preemption, or a script's file. Default: quiet
    #[arg(long, value_name = "SCRIPT", num_args = 0..=1, require_equals = true, default_missing_value = "quiet")]
    pub(crate) lab: Option<String>,
    /// Create the pod, print the task's id, and leave: nobody watches then, and nothing runs it again until `kpo attach`
    #[arg(long)]
    pub(crate) detach: bool,
    /// Print the pod that would be created. client: without asking the cluster; server: as the cluster would take it
    #[arg(long, value_enum, value_name = "WHERE", conflicts_with = "detach")]
    pub(crate) dry_run: Option<DryRun>,
    /// What SIGTERM and SIGHUP mean. Ctrl-C always cancels; a second one leaves at once
    #[arg(long, value_enum, value_name = "WHAT", env = crate::env::ON_SIGTERM, hide_env_values = true, default_value_t = OnSigterm::Detach)]
    pub(crate) on_sigterm: OnSigterm,
}

/// `--dry-run`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DryRun {
    /// Without asking the cluster
    Client,
    /// As the cluster would take it
    Server,
}

/// What is printed.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more; twice: the requests too
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// What standard output is. json: the Outcome (the program's output then goes to standard error); events: everything as
    /// JSON lines. Default: the program's output
    #[arg(short, long, value_enum, value_name = "FORM")]
    pub(crate) output: Option<Output>,
}

/// `-o` of commands that follow a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// The Outcome
    Json,
    /// The events and log lines, one JSON object a line
    Events,
}
