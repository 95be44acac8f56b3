//! `kpo ls`

use super::Done;
use crate::connect::{FIRST_ANSWER, block_on};
use crate::options::{ConnectionArgs, Form};
use crate::printer::{to_stderr, to_stdout, visible};
use crate::render::span_text;
use clap::Args;
use kpo::request::Call;
use kpo_core::reason::exit;
use kpo_core::{Pod, Time, marks};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// List the tasks that have a pod
///
/// A task that has finished and was cleaned up has none, and is not listed.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LsArgs {
    /// Those of all namespaces
    #[arg(short = 'A', long, help_heading = "Which")]
    pub(crate) all_namespaces: bool,
    /// Those whose pods have these labels
    #[arg(short = 'l', long, value_name = "SELECTOR", help_heading = "Which")]
    pub(crate) selector: Option<String>,
    /// A list of objects, as JSON or YAML. Default: a table
    #[arg(short, long, value_enum, value_name = "FORM", help_heading = "Output")]
    pub(crate) output: Option<Form>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

const EXAMPLES: &str = "\
Examples:
  kpo ls
  kpo ls -A -o json | jq '.[].task'";

pub(super) fn ls(args: LsArgs) -> Done {
    block_on(async move {
        let hook = args.connection.connect().await?;
        let searched = if args.all_namespaces { String::new() } else { args.connection.namespace(&hook) };
        let own = args.selector.as_deref().map(|selector| format!("{},{selector}", marks::TASK));
        let selector = own.unwrap_or_else(|| marks::TASK.to_owned());
        let pods = hook.pods(&searched).list(&selector, Call::within(FIRST_ANSWER)).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let rows = rows(&pods.items, Time::default() + now);
        match args.output {
            Some(form) => to_stdout(form.text(&rows)?.as_bytes())?,
            None if rows.is_empty() => to_stderr(&none(&searched)),
            None => to_stdout(table(&rows, args.all_namespaces).as_bytes())?,
        }
        Ok(exit::SUCCESS)
    })
}

/// As kubectl has it: a list of nothing is no table.
fn none(namespace: &str) -> String {
    match namespace {
        "" => "no tasks in any namespace".to_owned(),
        _ => format!("no tasks in namespace {namespace}"),
    }
}

/// A task, by its newest pod.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Row {
    namespace: String,
    task: String,
    attempt: u32,
    pod: String,
    node: Option<String>,
    state: String,
    /// Seconds since the newest pod was created.
    age: u64,
}

/// The tasks in the order of their names; of each its newest attempt.
fn rows(pods: &[Value], now: Time) -> Vec<Row> {
    let mut newest: BTreeMap<(String, String), Row> = BTreeMap::new();
    for pod in pods.iter().filter_map(|pod| Pod::deserialize(pod).ok()) {
        let Some(row) = row(&pod, now) else { continue };
        let key = (row.namespace.clone(), row.task.clone());
        if newest.get(&key).is_none_or(|known| known.attempt < row.attempt) {
            newest.insert(key, row);
        }
    }
    newest.into_values().collect()
}

fn row(pod: &Pod, now: Time) -> Option<Row> {
    let meta = &pod.metadata;
    let created = meta.creation_timestamp.as_deref().and_then(Time::parse);
    Some(Row {
        namespace: meta.namespace.clone(),
        task: meta.labels.get(marks::TASK)?.clone(),
        attempt: meta.labels.get(marks::ATTEMPT).and_then(|number| number.parse().ok()).unwrap_or(1),
        pod: meta.name.clone(),
        node: pod.spec.node_name.clone(),
        state: state(pod),
        age: created.map_or(0, |created| now.since(created).as_secs()),
    })
}

/// What a pod is, as kubectl's STATUS has it.
fn state(pod: &Pod) -> String {
    if pod.is_terminating() && !pod.status.phase.is_terminal() {
        return "Terminating".to_owned();
    }
    if !pod.spec.scheduling_gates.is_empty() {
        return "Gated".to_owned();
    }
    let waiting = pod.statuses().find_map(|status| status.state.waiting.as_ref()?.reason.clone());
    let reason = pod.status.reason.clone().or(waiting);
    reason.unwrap_or_else(|| format!("{:?}", pod.status.phase))
}

fn table(rows: &[Row], with_namespace: bool) -> String {
    let mut lines = vec![["NAMESPACE", "TASK", "ATTEMPT", "STATE", "NODE", "AGE"].map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        let node = row.node.clone().unwrap_or_else(|| "-".to_owned());
        let age = span_text(Duration::from_secs(row.age));
        [&row.namespace, &row.task, &row.attempt.to_string(), &row.state, &node, &age]
            .map(|cell| visible(cell).into_owned())
    }));
    let from = usize::from(!with_namespace);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let padded = |line: &[String; 6]| {
        let cells: Vec<String> =
            (from..6).map(|column| format!("{:width$}", line[column], width = widths[column])).collect();
        format!("{}\n", cells.join("   ").trim_end())
    };
    lines.iter().map(padded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_task_is_listed_once_by_its_newest_attempt() {
        let pod = |task: &str, attempt: &str, status: Value| {
            json!({"metadata": {"name": format!("{task}-{attempt}"), "namespace": "batch", "creationTimestamp": "2026-11-23T22:10:07Z",
                "labels": {marks::TASK: task, marks::ATTEMPT: attempt}}, "spec": {"nodeName": "node-1"}, "status": status})
        };
        let waits =
            json!({"containerStatuses": [{"name": "base", "state": {"waiting": {"reason": "ImagePullBackOff"}}}]});
        let pods = [
            pod("b", "9", json!({"phase": "Running"})),
            pod("b", "10", waits),
            pod("a", "1", json!({"phase": "Failed", "reason": "Evicted"})),
        ];
        let now = Time::parse("2026-11-23T22:11:17Z").unwrap();
        insta::assert_snapshot!(table(&rows(&pods, now), true), @r"
        NAMESPACE   TASK   ATTEMPT   STATE              NODE     AGE
        batch       a      1         Evicted            node-1   1 m 10 s
        batch       b      10        ImagePullBackOff   node-1   1 m 10 s
        ");
        assert!(!table(&rows(&pods, now), false).contains("batch"));
    }
}
