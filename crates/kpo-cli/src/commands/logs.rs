//! `kpo logs`

use super::Done;
use crate::connect::{FIRST_ANSWER, block_on};
use crate::error::{CliError, ErrorKind};
use crate::options::ConnectionArgs;
use crate::printer::{Printer, Tone};
use crate::render;
use crate::session::LogView;
use clap::Args;
use kpo::KubernetesHook;
use kpo::driver::Piece;
use kpo::logs::{LogOptions, LogStream, LogTarget};
use kpo::request::Call;
use kpo_core::reason::exit;
use kpo_core::{Pod, Time, marks};
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
        let selector = format!("{}={}", marks::TASK, args.task);
        let list = hook.pods(&namespace).list(&selector, Call::within(FIRST_ANSWER)).await?;
        let pods = list.items.iter().filter_map(|pod| Pod::deserialize(pod).ok());
        let attempt = |pod: &Pod| pod.metadata.labels.get(marks::ATTEMPT).and_then(|number| number.parse::<u32>().ok());
        let pod = pods.max_by_key(attempt).ok_or_else(|| {
            let text =
                format!("no pod of task {} in namespace {namespace}: finished and cleaned up, or lost", args.task);
            CliError::new(ErrorKind::NotFound, text).hint(format!(
                "Those that have one: {} ls{}",
                render::program(),
                args.connection.again(&namespace)
            ))
        })?;
        let printer = Printer::plain();
        let containers = chosen(&pod, args.container.as_deref())?;
        if containers.is_empty() {
            let name = &pod.metadata.name;
            let attach = format!("{} attach {}{}", render::program(), args.task, args.connection.again(&namespace));
            let text = format!("no container of pod {name} has begun; this follows it from its start: {attach}");
            printer.say(Tone::Odd, text);
        }
        let logs = containers.iter().map(|container| print(&hook, &pod, container, &args, &printer));
        tokio::select! {
            () = all(logs, args.follow) => {}
            // Nobody reads any more (`| head`): there is nothing left to do.
            () = printer.closed() => {}
        }
        printer.flush().await;
        let code = if printer.has_lost_output() { exit::OWN } else { exit::SUCCESS };
        printer.finish().await;
        Ok(crate::app::exit_code(code))
    })
}

/// One after the other; or all at once: one that runs on, such as a proxy, must not hold the others back.
async fn all<F: Future<Output = ()>>(logs: impl Iterator<Item = F>, at_once: bool) {
    if at_once {
        futures::future::join_all(logs).await;
        return;
    }
    for log in logs {
        log.await;
    }
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

async fn print(hook: &KubernetesHook, pod: &Pod, container: &str, args: &LogsArgs, printer: &Printer) {
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
    while let Some(event) = log.next().await {
        if let Some(text) = view.print(printer, &args.task, Time::default(), &piece(event)) {
            printer.say(Tone::Odd, text);
        }
        printer.room().await;
    }
}
