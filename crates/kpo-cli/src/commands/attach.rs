//! `kpo attach`

use super::{Done, OutputArgs};
use crate::connect::block_on;
use crate::error::{CliError, ErrorKind};
use crate::files::read_source;
use crate::options::{ConnectionArgs, OnSigterm};
use crate::printer::Printer;
use crate::session::Session;
use crate::signals::Signals;
use clap::Args;
use kpo::body::Template;
use kpo::driver::{self, AttachFailure, AttachRequest};
use kpo::manifest;
use kpo_core::task::AttachError;
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
    #[arg(value_name = "TASK")]
    pub(crate) task: String,
    /// Become the task's observer in place of the one that it has
    #[arg(long, help_heading = "How")]
    pub(crate) take_over: bool,
    /// The manifest, where it was too large to travel with the pod
    #[arg(short, long, value_name = "FILE", help_heading = "How")]
    pub(crate) file: Option<PathBuf>,
    /// What SIGTERM and SIGHUP mean
    #[arg(long, value_enum, value_name = "WHAT", env = crate::env::ON_SIGTERM, hide_env_values = true, default_value_t = OnSigterm::Detach, help_heading = "How")]
    pub(crate) on_sigterm: OnSigterm,
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
            take_over: args.take_over,
            file: args.file.as_deref(),
            with_logs: true,
            connection: &args.connection,
            output: &args.output,
        };
        let signals = Signals::catch(args.on_sigterm)?;
        follow.run(signals).await
    })
}

/// What `attach` and `wait` have in common.
pub(super) struct Attaching<'a> {
    pub(super) task: &'a str,
    pub(super) take_over: bool,
    pub(super) file: Option<&'a Path>,
    pub(super) with_logs: bool,
    pub(super) connection: &'a ConnectionArgs,
    pub(super) output: &'a OutputArgs,
}

impl Attaching<'_> {
    pub(super) async fn run(&self, signals: Signals) -> Done {
        let printer = Printer::new(self.output);
        let (hook, mut retries) = self.connection.connect_telling().await?;
        let namespace = self.connection.namespace(&hook);
        let attached = retries.during(&printer, driver::attach(&hook, self.request(&namespace)?)).await;
        let running = attached.map_err(|error| self.failed(error, &namespace))?;
        let session = Session {
            task: self.task.to_owned(),
            container: running.spec().template.container.clone(),
            with_logs: self.with_logs,
            watches_over: self.take_over,
            in_lab: false,
            again: self.connection.again(&namespace),
            namespace,
        };
        let followed = session.follow(running, printer, self.output, (signals, retries)).await?;
        Ok(crate::app::exit_code(followed.exit_code()))
    }

    fn request(&self, namespace: &str) -> Result<AttachRequest, CliError> {
        let template = self.file.map(|file| -> Result<Template, CliError> {
            let manifest =
                manifest::manifest(manifest::Request { file: Some(read_source(file)?), ..Default::default() })?;
            Template::new(manifest.pod, true).map_err(|error| CliError::input(error.to_string()))
        });
        let (task, namespace) = (self.task.to_owned(), namespace.to_owned());
        Ok(AttachRequest { task, namespace, take_over: self.take_over, template: template.transpose()? })
    }

    fn failed(&self, error: AttachFailure, namespace: &str) -> CliError {
        failed(error, self.task, namespace, self.connection)
    }
}

/// Why there is nothing to go on with.
pub(super) fn failed(error: AttachFailure, task: &str, namespace: &str, connection: &ConnectionArgs) -> CliError {
    match error {
        AttachFailure::List { source, .. } => source.into(),
        AttachFailure::Found(AttachError::NoPod { .. }) => CliError::new(
            ErrorKind::NotFound,
            format!("no pod of task {task} in namespace {namespace}: finished and cleaned up, or lost"),
        )
        .hint(format!("Those that have one: kpo ls{}", connection.again(namespace))),
        AttachFailure::Found(error) => CliError::new(ErrorKind::Refused, error.to_string()),
    }
}
