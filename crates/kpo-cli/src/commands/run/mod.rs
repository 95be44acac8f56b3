//! `kpo run`

#![allow(rustdoc::broken_intra_doc_links, reason = "doc comments of arguments are the help: containers[0] is no link")]

mod request;

use super::Done;
use crate::connect::{FIRST_ANSWER, block_on};
use crate::error::{CliError, ErrorKind};
use crate::labs;
use crate::options::{ConnectionArgs, Disturb, ExitZero, Form, Limit, OnSigterm, OnUnsigned, RerunWhen, Transport};
use crate::options::{Resources, limit, on_finish, on_sigterm, resources, security_context, span};
use crate::printer::{Printer, Tone, to_stdout};
use crate::render;
use crate::session::{Errand, Session};
use crate::signals::Signals;
use clap::{Args, ValueEnum};
use kpo::KubernetesHook;
use kpo::driver::{self, InUse, TaskRequest};
use kpo::manifest::Manifest;
use kpo::request::Call;
use kpo_core::reason::exit;
use kpo_core::{Observer, OnFinish, Task, Time};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// Run a task to its end
///
/// Creates the pod, follows it, prints what its program prints, and exits with its exit code. If the pod is taken away before
/// anything of it ran (a preemption on a fresh node, for one), kpo proves that, says so, and makes the next attempt.
///
/// Other containers' lines go to standard error, each with the container's name in front; on a terminal their escape sequences are made
/// visible, and so harmless. The program's own output is never changed.
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
  See it: a pod is preempted before it ran, and runs on the next node
    kpo run --lab=preemption examples/orange-juice.yaml
  On your cluster
    kpo run --image busybox -- echo hello
  A Pod, PodTemplate, Job or CronJob, within two hours
    kpo run -f job.yaml -n batch --timeout 2h
  It may run twice; a failure of the program is retried twice
    kpo run -f job.yaml --rerun=idempotent --retries 2
  With another limit of memory
    kpo run -f job.yaml --set 'containers[name=base].resources.limits.memory=2Gi'
  Start it, print its id, leave; later: kpo attach ID
    kpo run -f job.yaml --detach";

/// What to run.
#[derive(Args, Debug, Default)]
#[command(next_help_heading = "What to run")]
pub(crate) struct WhatArgs {
    /// A Pod, a PodTemplate, a Job or a CronJob (its template), in YAML or JSON; - is standard input
    #[arg(value_name = "FILE", conflicts_with = "file", help_heading = "Arguments")]
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
    #[arg(long, requires = "args")]
    pub(crate) command: bool,
    /// Known from kubectl run, and refused with a reason
    #[arg(short = 'i', long, hide = true)]
    pub(crate) stdin: bool,
    /// Known from kubectl run, and refused with a reason
    #[arg(short = 't', long, hide = true)]
    pub(crate) tty: bool,
    /// Arguments of the task's own container
    #[arg(last = true, value_name = "ARG", help_heading = "Arguments")]
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
    /// Let init containers run again: that one of them had started is then no start of the task
    #[arg(long)]
    pub(crate) init_may_rerun: bool,
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
    /// Time its program may run, in each attempt. Default: none
    #[arg(long, value_name = "SPAN", value_parser = limit)]
    pub(crate) run_timeout: Option<Limit>,
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
    /// Hand back what the program writes to this file: on standard error ("result: …"), with -o json in the Outcome.
    /// Default path: /airflow/xcom/return.json
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = kpo::result::DEFAULT_PATH)]
    pub(crate) result: Option<String>,
    /// How it gets out of the pod
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Transport::Sidecar, requires = "result")]
    pub(crate) results: Transport,
    /// The sidecar's image, for --results=sidecar and exec: any with a shell
    #[arg(long, value_name = "IMAGE", requires = "result")]
    pub(crate) results_image: Option<String>,
    /// What the sidecar asks for and may use at most. Default: cpu=50m,memory=32Mi
    #[arg(long, value_name = "LIST", value_parser = resources, requires = "result")]
    pub(crate) results_resources: Option<Resources>,
    /// The sidecar's whole securityContext, in YAML or JSON. Default: one that Pod Security "restricted" admits
    #[arg(long, value_name = "YAML", value_parser = security_context, requires = "result")]
    pub(crate) results_security: Option<Value>,
}

/// What stays.
#[derive(Args, Debug)]
#[command(next_help_heading = "What stays")]
pub(crate) struct KeepingArgs {
    /// What becomes of the last pod: delete, keep, keep-failed, or keep-failed=2h. One without a time stays until
    /// kubectl delete pod; an expired one goes with the next kpo that watches there, or kpo sweep
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
    #[arg(conflicts_with_all = ["context", "kubeconfig"])]
    pub(crate) lab: Option<String>,
    /// Create the pod, print the task's id (with -o json: an object with task, namespace and pod), and leave: nobody watches then, no clock
    /// but --timeout runs, and nothing runs it again until 'kpo attach --take-over'
    #[arg(long, conflicts_with = "lab")]
    pub(crate) detach: bool,
    /// Print the pod that would be created. client: without asking the cluster; server: as the cluster would take it
    #[arg(long, value_enum, value_name = "WHERE", conflicts_with = "detach")]
    pub(crate) dry_run: Option<DryRun>,
    /// What SIGTERM and SIGHUP mean. Ctrl-C always cancels; a second one leaves at once. Default: $KPO_ON_SIGTERM, else detach
    #[arg(long, value_enum, value_name = "WHAT")]
    pub(crate) on_sigterm: Option<OnSigterm>,
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
    /// Say nothing but errors, and what is left behind
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more: the evidence of each verdict; twice: the requests too; three times: the connections
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// What standard output is. json, yaml: the Outcome, or an object of kind Error where there is none (the program's output then
    /// goes to standard error); events: everything as JSON lines, the last one with the Outcome or the Error. Default: the program's output
    #[arg(short, long, value_enum, value_name = "FORM")]
    pub(crate) output: Option<Output>,
}

/// `-o` of commands that follow a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// The Outcome
    Json,
    /// The same as YAML
    Yaml,
    /// The events and log lines, one JSON object a line
    Events,
}

impl Output {
    /// The form of the one object that is printed. `None`: there are many.
    pub(crate) fn object(self) -> Option<Form> {
        match self {
            Output::Json => Some(Form::Json),
            Output::Yaml => Some(Form::Yaml),
            Output::Events => None,
        }
    }
}

impl From<Form> for Output {
    fn from(form: Form) -> Self {
        match form {
            Form::Json => Output::Json,
            Form::Yaml => Output::Yaml,
        }
    }
}

pub(super) fn run(args: RunArgs) -> Done {
    crate::trace::start(args.output.verbose);
    block_on(run_task(args))
}

async fn run_task(args: RunArgs) -> Done {
    demand_sense(&args)?;
    let manifest = request::manifest(&args)?;
    let task = manifest.task_name();
    // All that can be wrong without a cluster is told before one is asked; the namespace may be the connection's.
    let namespace = manifest.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let mut request = request::task(&args, &manifest, &task, &namespace)?;
    if args.how.dry_run == Some(DryRun::Client) {
        return show(&request::body(&request), &args);
    }
    // From here on: a file that is read, or a question that is asked, may be interrupted as ever.
    let mut signals = Signals::catch(on_sigterm(args.how.on_sigterm)?)?;
    let (lab, refusals) = match &args.how.lab {
        Some(script) => {
            labs::demand_programs(script, &manifest)?;
            let (lab, refusals) = signals.during(NOTHING, labs::start(script)).await??;
            (Some(lab), Some(refusals))
        }
        None => (None, None),
    };
    let (hook, mut retries) = match &lab {
        Some(lab) => labs::connect(lab).await?,
        None => signals.during(NOTHING, args.connection.connect_telling()).await??,
    };
    let printer = Printer::new(&args.output);
    let namespace = manifest.namespace.clone().unwrap_or_else(|| args.connection.namespace(&hook));
    request.spec.namespace.clone_from(&namespace);
    if args.how.dry_run == Some(DryRun::Server) {
        let (pods, body) = (hook.pods(&namespace), request::body(&request));
        let asking = retries.during(&printer, pods.create_dry_run(&body, Call::within(FIRST_ANSWER)));
        let pod = signals.during(NOTHING, asking).await?.map_err(CliError::refused)?;
        return show(&pod, &args);
    }
    if lab.is_none() {
        let asking = retries.during(&printer, refuse_if_in_use(&hook, &request, &args));
        signals.during(NOTHING, asking).await??;
    }
    say_unused(&manifest, args.again.retries, &printer);
    let session = Session {
        errand: if args.how.detach { Errand::Detach } else { Errand::Run },
        lab: refusals,
        again: args.connection.again(&namespace),
    };
    let code = session.follow(driver::run(&hook, request), printer, &args.output, (signals, retries)).await?;
    Ok(code)
}

/// What is said where a signal comes before there can be a pod.
const NOTHING: &str = "nothing was created";

/// Flags that contradict each other, beyond what their parser knows.
fn demand_sense(args: &RunArgs) -> Result<(), CliError> {
    if args.what.stdin || args.what.tty {
        return Err(CliError::input("no stdin, no TTY: a task runs unattended. Leave out -i and -t."));
    }
    if args.how.dry_run.is_some() && args.output.output == Some(Output::Events) {
        return Err(CliError::input("a dry run has no events: -o json or -o yaml"));
    }
    Ok(())
}

/// What of a Job does not mean anything to a task. `retries`: those that the flags say.
fn say_unused(manifest: &Manifest, retries: u32, printer: &Printer) {
    for field in &manifest.unused {
        if manifest.suspended.as_ref() == Some(field) {
            let text = format!("note: it is suspended ({field}: true); its template is run all the same");
            printer.say(Tone::Odd, text);
        } else if field.ends_with("spec.backoffLimit") && retries == 0 {
            let text = format!(
                "note: the Job's retries ({field}) are not taken over; a program that fails is run again with --retries=N"
            );
            printer.say(Tone::Odd, text);
        } else {
            printer.detail(format!("note: {field} means nothing to a task, and is not used"));
        }
    }
}

fn show(pod: &Value, args: &RunArgs) -> Done {
    let form = args.output.output.and_then(Output::object).unwrap_or(Form::Yaml);
    to_stdout(form.text(pod)?.as_bytes())?;
    Ok(exit::SUCCESS)
}

/// The first request: a wrong address, certificate or token is told at once, where later outages are ridden out. And a task of that name
/// that has pods is left alone: nothing is created. Who may not list pods is told by the create, for the first attempt's name.
async fn refuse_if_in_use(hook: &KubernetesHook, request: &TaskRequest, args: &RunArgs) -> Result<(), CliError> {
    let (task, namespace) = (&request.spec.task, &request.spec.namespace);
    match driver::in_use(hook, namespace, task, Call::within(FIRST_ANSWER)).await? {
        None => Ok(driver::demand_protection(hook, &request.spec, Call::within(FIRST_ANSWER)).await?),
        Some(in_use) => Err(refused(&in_use, request, &args.connection.again(namespace))),
    }
}

fn refused(in_use: &InUse, request: &TaskRequest, again: &str) -> CliError {
    let (task, namespace, kpo) = (&request.spec.task, &request.spec.namespace, render::program());
    let another = "To run another: give it another --name";
    match in_use {
        InUse::Kept { pod } => {
            let text = format!("task {task} has ended, and its pod {pod} in namespace {namespace} is kept");
            CliError::new(ErrorKind::Refused, text)
                .hint(format!("To see its log and its end: {kpo} attach {task}{again}"))
                .hint(format!("To remove it: kubectl delete pod {pod} -n {namespace}"))
                .hint(another)
        }
        InUse::There { pod } => {
            let text = format!("task {task} is there already, in namespace {namespace}: pod {pod}");
            CliError::new(ErrorKind::Refused, text)
                .hint(format!("To go on with it: {kpo} attach {task}{again}"))
                .hint(another)
        }
    }
}
