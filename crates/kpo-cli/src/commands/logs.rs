//! `kpo logs`

use super::{Done, find};
use crate::connect::{FIRST_ANSWER, block_on};
use crate::error::CliError;
use crate::options::ConnectionArgs;
use crate::printer::{Printer, Tone};
use crate::render;
use crate::session::LogView;
use clap::Args;
use kpo::KubernetesHook;
use kpo::driver::Piece;
use kpo::logs::{GapCause, LogEvent, LogOptions, LogStream, LogTarget};
use kpo::request::Call;
use kpo_core::reason::exit;
use kpo_core::{Pod, Time};
use serde::Deserialize;
use std::future::Future;

/// Print the log of a task's current pod
///
/// The task's own container goes to standard output, bare; the others to standard error, each line with its container.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LogsArgs {
    /// The task's id
    #[arg(value_name = "TASK", value_parser = crate::options::names::task)]
    pub(crate) task: String,
    /// Follow it to its end
    #[arg(short, long, help_heading = "How")]
    pub(crate) follow: bool,
    /// Only this container. Default: all
    #[arg(short, long, value_name = "NAME", help_heading = "How")]
    pub(crate) container: Option<String>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

const EXAMPLES: &str = "\
Examples:
  kpo logs fresh-squeeze
  kpo logs fresh-squeeze -f -c proxy";

pub(super) fn logs(args: LogsArgs) -> Done {
    block_on(async move {
        let hook = args.connection.connect().await?;
        let namespace = args.connection.namespace(&hook);
        let (pods, again) = (hook.pods(&namespace), args.connection.again(&namespace));
        let newest = find::newest(&pods, &args.task, Call::within(FIRST_ANSWER)).await?;
        let Some(pod) = newest.and_then(|pod| Pod::deserialize(pod).ok()) else {
            return Err(find::no_pod(&pods, "logs", &args.task, &again).await);
        };
        let printer = Printer::plain();
        let containers = chosen(&pod, args.container.as_deref())?;
        if containers.is_empty() {
            printer.say(Tone::Odd, without_log(&pod, &args, &again));
        }
        let logs = containers.iter().map(|container| print(&hook, &pod, container, &args, &printer));
        let may_be_read = tokio::select! {
            each = all(logs, args.follow) => each.into_iter().all(|may_be_read| may_be_read),
            // Nobody reads any more (`| head`): there is nothing left to do.
            () = printer.closed() => true,
        };
        printer.flush().await;
        let code = match (printer.has_lost_output(), may_be_read) {
            (true, _) => exit::OWN,
            (false, false) => exit::FORBIDDEN,
            (false, true) => exit::SUCCESS,
        };
        printer.finish().await;
        Ok(code)
    })
}

/// Why there is no log, of the container that was asked for or of any.
fn without_log(pod: &Pod, args: &LogsArgs, again: &str) -> String {
    let (name, program) = (&pod.metadata.name, render::program());
    let what = match &args.container {
        Some(container) => format!("container {container} of pod {name} has not begun"),
        None => format!("no container of pod {name} has begun"),
    };
    if pod.status.phase.is_terminal() || pod.metadata.deletion_timestamp.is_some() {
        return format!("{what}, and will not. What became of it: {program} why {name}{again}");
    }
    format!("{what}; this follows it from its start: {program} attach {}{again}", args.task)
}

/// One after the other; or all at once: one that runs on, such as a proxy, must not hold the others back.
async fn all<F: Future>(logs: impl Iterator<Item = F>, at_once: bool) -> Vec<F::Output> {
    if at_once {
        return futures::future::join_all(logs).await;
    }
    let mut ended = Vec::new();
    for log in logs {
        ended.push(log.await);
    }
    ended
}

/// The containers whose logs there are, in the order of their start; an error where the one asked for is none of the pod's.
fn chosen(pod: &Pod, asked: Option<&str>) -> Result<Vec<String>, CliError> {
    let all = pod.spec.init_containers.iter().chain(&pod.spec.containers).map(|container| container.name.as_str());
    super::demand_container(pod, asked)?;
    let begun = |name: &str| {
        pod.status_of(name).is_some_and(|status| status.state.waiting.is_none() && status.container_id.is_some())
    };
    Ok(all.filter(|name| asked.is_none_or(|asked| asked == *name) && begun(name)).map(str::to_owned).collect())
}

/// Prints a container's log. Whether it may be read comes back.
async fn print(hook: &KubernetesHook, pod: &Pod, container: &str, args: &LogsArgs, printer: &Printer) -> bool {
    let meta = &pod.metadata;
    let target = LogTarget {
        namespace: meta.namespace.clone(),
        pod: meta.name.clone(),
        uid: meta.uid.clone(),
        container: container.to_owned(),
    };
    let ended = pod.status_of(container).is_some_and(|status| status.state.terminated.is_some());
    let mut log = LogStream::start(hook.requests().clone(), target, LogOptions::default());
    if ended || !args.follow {
        log.ended();
    }
    let own = args.container.is_some() || pod.default_container() == Some(container);
    let mut view = LogView::new(if own { container } else { "" }, None);
    let piece = |event| Piece { pod: meta.name.as_str().into(), container: container.into(), event };
    let mut may_be_read = true;
    while let Some(event) = log.next().await {
        may_be_read &= !is_forbidden(&event);
        if let Some(text) = view.print(printer, &args.task, Time::default(), &piece(event)) {
            printer.say(Tone::Odd, text);
        }
        printer.room().await;
    }
    may_be_read
}

fn is_forbidden(event: &LogEvent) -> bool {
    match event {
        LogEvent::Trouble(trouble) => trouble.failure.is_forbidden(),
        LogEvent::Gap(gap) => matches!(gap.cause, GapCause::Forbidden(_)),
        _ => false,
    }
}
