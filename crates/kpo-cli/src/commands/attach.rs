//! `kpo attach`

use super::{Done, OutputArgs, find};
use crate::connect::{FIRST_ANSWER, block_on};
use crate::error::{CliError, ErrorKind};
use crate::files::read_source;
use crate::options::{ConnectionArgs, OnSigterm, on_sigterm};
use crate::printer::Printer;
use crate::render;
use crate::session::{Errand, Session};
use crate::signals::Signals;
use clap::Args;
use kpo::PodManager;
use kpo::body::Template;
use kpo::driver::{self, AttachFailure, AttachRequest};
use kpo::manager::Precondition;
use kpo::manifest;
use kpo::request::{ApiFailure, Call};
use kpo_core::Pod;
use kpo_core::task::AttachError;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Go on with a task that was detached, or whose observer is gone
///
/// Finds the task's pod by its id, prints its log from the start, and follows it to its end. With --take-over this process becomes the
/// task's observer: it makes the next attempt where one is due, and cleans up. Without it, it only follows.
///
/// While nobody watches, the pod runs on, but a pod that is taken away is not replaced.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AttachArgs {
    /// The task's id
    #[arg(value_name = "TASK", value_parser = crate::options::names::task)]
    pub(crate) task: String,
    /// Become the task's observer in place of the one that it has
    #[arg(long, help_heading = "How")]
    pub(crate) take_over: bool,
    /// The manifest, where it was too large to travel with the pod
    #[arg(short, long, value_name = "FILE", help_heading = "How")]
    pub(crate) file: Option<PathBuf>,
    /// What SIGTERM and SIGHUP mean. Default: $KPO_ON_SIGTERM, else detach
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "How")]
    pub(crate) on_sigterm: Option<OnSigterm>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

const EXAMPLES: &str = "\
Examples:
  kpo attach fresh-squeeze                Follow it
  kpo attach fresh-squeeze --take-over    Watch over it from here on";

pub(super) fn attach(args: AttachArgs) -> Done {
    crate::trace::start(args.output.verbose);
    block_on(async move {
        let follow = Attaching {
            task: &args.task,
            errand: if args.take_over { Errand::TakeOver } else { Errand::Follow },
            file: args.file.as_deref(),
            connection: &args.connection,
            output: &args.output,
        };
        let signals = Signals::catch(on_sigterm(args.on_sigterm)?)?;
        follow.run(signals).await
    })
}

/// What `attach`, `wait` and `cancel` have in common.
pub(super) struct Attaching<'a> {
    pub(super) task: &'a str,
    pub(super) errand: Errand,
    pub(super) file: Option<&'a Path>,
    pub(super) connection: &'a ConnectionArgs,
    pub(super) output: &'a OutputArgs,
}

impl Attaching<'_> {
    pub(super) async fn run(&self, signals: Signals) -> Done {
        self.run_telling(signals, |_| {}).await
    }

    /// The same. `found` is called when the task is found, with what is appended to a command about it.
    pub(super) async fn run_telling(&self, mut signals: Signals, found: impl FnOnce(&str)) -> Done {
        let template = self.template()?;
        let printer = Printer::new(self.output);
        let nothing = match self.errand {
            Errand::Cancel => "the task is not cancelled",
            _ => "the task was not looked at yet, and is left as it is",
        };
        let (hook, mut retries) = signals.during(nothing, self.connection.connect_telling()).await??;
        let namespace = self.connection.namespace(&hook);
        let pods = hook.pods(&namespace);
        if self.errand == Errand::Cancel {
            signals.during(nothing, retries.during(&printer, self.demand_right(&pods))).await??;
        }
        let attaching = driver::attach(&hook, self.request(&namespace, template));
        let attached = signals.during(nothing, retries.during(&printer, attaching)).await?;
        let running = match attached {
            Ok(running) => running,
            Err(error) => return Err(self.failed(error, &pods).await),
        };
        let again = self.connection.again(&namespace);
        found(&again);
        let session = Session { errand: self.errand, lab: None, again };
        let code = session.follow(running, printer, self.output, (signals, retries)).await?;
        Ok(code)
    }

    fn template(&self) -> Result<Option<Template>, CliError> {
        let template = self.file.map(|file| -> Result<Template, CliError> {
            let manifest =
                manifest::manifest(manifest::Request { file: Some(read_source(file)?), ..Default::default() })?;
            Template::new(manifest.pod, true).map_err(|error| CliError::input(error.to_string()))
        });
        template.transpose()
    }

    fn request(&self, namespace: &str, template: Option<Template>) -> AttachRequest {
        let take_over = matches!(self.errand, Errand::TakeOver | Errand::Cancel);
        AttachRequest { take_over, template, ..AttachRequest::follow(self.task, namespace) }
    }

    /// Who takes a task over and may not delete its pod has only sent its observer away: that right is asked about before.
    async fn demand_right(&self, pods: &PodManager) -> Result<(), CliError> {
        let newest = find::newest(pods, self.task, Call::forever()).await?;
        let pod = newest.and_then(|pod| Pod::deserialize(pod).ok()).filter(|pod| !pod.status.phase.is_terminal());
        let Some(Pod { metadata: meta, .. }) = pod else { return Ok(()) };
        let asked = pods.delete_dry_run(&meta.name, &Precondition::uid(meta.uid), Call::within(FIRST_ANSWER)).await;
        // What else may be wrong with it the deletion itself tells.
        let Err(error) = asked.map_err(|error| error.failure) else { return Ok(()) };
        let ApiFailure::Forbidden(status) = error else { return Ok(()) };
        let (who, rule) = render::explained(&status.message);
        let text = format!("not cancelled: pod {} is left as it is; {who}", meta.name);
        Err(CliError::new(ErrorKind::Forbidden, text).hints(rule))
    }

    /// Why there is nothing to go on with.
    async fn failed(&self, error: AttachFailure, pods: &PodManager) -> CliError {
        let command = match self.errand {
            Errand::Cancel => "cancel",
            Errand::Wait => "wait",
            Errand::TakeOver => "attach --take-over",
            _ => "attach",
        };
        match error {
            AttachFailure::List { source, .. } => source.into(),
            AttachFailure::Found(AttachError::NoPod { .. }) => {
                find::no_pod(pods, command, self.task, &self.connection.again(pods.namespace())).await
            }
            AttachFailure::Found(error) => CliError::new(ErrorKind::Refused, error.to_string()),
        }
    }
}
