//! `kpo why` of a pod or a task in a cluster.

use super::{CliError, ErrorKind, WhyArgs, WhyForm};
use crate::case::{self, PodCase};
use crate::connect::FIRST_ANSWER;
use crate::records::{Record, What};
use crate::render;
use kpo::PodManager;
use kpo::request::Call;
use kpo_core::{AttemptRecord, Carried, ClusterEvent, Outcome, Pod, Sight, Time, Verdict, marks};
use serde::Deserialize;
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

/// The page, or the Outcome, of the pod or task that the arguments name.
pub(super) async fn explain(args: &WhyArgs) -> Result<String, CliError> {
    let hook = args.connection.connect().await?;
    let namespace = args.connection.namespace(&hook);
    let pods = hook.pods(&namespace);
    let name = args.pod.as_deref().unwrap_or_default();
    if let Some(pod) = pods.get(name, Call::within(FIRST_ANSWER)).await? {
        return of_pod(&pods, pod, args).await;
    }
    if let Some(pod) = newest(&pods, name).await? {
        return of_pod(&pods, pod, args).await;
    }
    if let Some((pod, record)) = earlier(&pods, name).await? {
        return of_record(&pod, record, args.output);
    }
    let text = format!("there is no pod {name} in namespace {namespace}, and no task of that name has one");
    let again = args.connection.again(&namespace);
    Err(CliError::new(ErrorKind::NotFound, text)
        .hint("A pod that is gone leaves nothing to look at. To record the next: kubectl get pods -w -o json --output-watch-events")
        .hint(format!("Tasks that have a pod: kpo ls{again}")))
}

async fn of_pod(pods: &PodManager, pod: Value, args: &WhyArgs) -> Result<String, CliError> {
    let records = records(pods, &pod).await?;
    let case = case::find(&records, None, args.container.as_deref());
    let case = case.ok_or_else(|| CliError::new(ErrorKind::Refused, "the answer is no pod"))?;
    let then = before(&case);
    super::explain(&case, then.as_deref(), args.output)
}

/// What the cluster shows of it now: one sight, and the events that it may read.
async fn records(pods: &PodManager, pod: &Value) -> Result<Vec<Record>, CliError> {
    let now = Time::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seen =
        Pod::deserialize(pod).map_err(|error| CliError::because(ErrorKind::Refused, "the answer is no pod", &error))?;
    let (name, uid) = (seen.metadata.name.clone(), seen.metadata.uid.clone());
    let mut records = vec![Record { at: now, what: What::Seen(Sight::Present, Box::new(seen)) }];
    let events = match pods.list_events(&name, &uid, Call::within(FIRST_ANSWER)).await {
        Ok(events) => events,
        // They only explain.
        Err(error) if error.failure.is_forbidden() => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    for event in events.iter().filter_map(|event| ClusterEvent::deserialize(event).ok()) {
        records.push(Record { at: event.time().map_or(now, |at| at.min(now)), what: What::Told(Box::new(event)) });
    }
    Ok(records)
}

/// The newest pod of a task of that name.
async fn newest(pods: &PodManager, task: &str) -> Result<Option<Value>, CliError> {
    let list = pods.list(&format!("{}={task}", marks::TASK), Call::within(FIRST_ANSWER)).await;
    let list = match list {
        Ok(list) => list,
        // A name that no label can have is no task's.
        Err(error) if error.failure.is_forbidden() || matches!(error.failure, kpo::request::ApiFailure::Refused(_)) => {
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let attempt =
        |pod: &Value| pod["metadata"]["labels"][marks::ATTEMPT].as_str().and_then(|number| number.parse::<u32>().ok());
    Ok(list.items.into_iter().max_by_key(attempt))
}

/// An attempt that is gone, as its successor carries it: the successor, and the record.
async fn earlier(pods: &PodManager, name: &str) -> Result<Option<(Pod, AttemptRecord)>, CliError> {
    let Some((task, _)) = name.rsplit_once('-') else { return Ok(None) };
    let Some(pod) = newest(pods, task).await?.and_then(|pod| Pod::deserialize(pod).ok()) else { return Ok(None) };
    let record =
        carried(&pod).and_then(|carried| carried.attempts.into_iter().find(|attempt| attempt.pod.name == name));
    Ok(record.map(|record| (pod, record)))
}

fn carried(pod: &Pod) -> Option<Carried> {
    serde_json::from_str(pod.annotation(marks::STATE)?).ok()
}

/// What was before this attempt.
fn before(case: &PodCase) -> Option<String> {
    let carried = carried(&case.pod)?;
    let said: Vec<String> =
        carried.attempts.iter().map(|attempt| format!("attempt {}: {}", attempt.number, ended(attempt))).collect();
    (!said.is_empty()).then(|| format!("before it: {}", said.join("; ")))
}

fn ended(attempt: &AttemptRecord) -> String {
    attempt.verdict.as_ref().map_or_else(|| "not known".to_owned(), |judged| render::short_verdict(&judged.verdict))
}

fn of_record(successor: &Pod, record: AttemptRecord, form: Option<WhyForm>) -> Result<String, CliError> {
    let label = |name: &str| successor.metadata.labels.get(name).cloned().unwrap_or_default();
    let verdict = record.verdict.as_ref().map(|judged| &judged.verdict);
    let then = format!("attempt {} follows it: pod {}", label(marks::ATTEMPT), successor.metadata.name);
    let page = render::record_page(&label(marks::TASK), &record, &then);
    let outcome = Outcome {
        api_version: "kpo.rs/v1".to_owned(),
        kind: "Outcome".to_owned(),
        task: label(marks::TASK),
        namespace: successor.metadata.namespace.clone(),
        verdict: verdict.map(|verdict| verdict.class.name().to_owned()),
        exit_code: verdict.map(Verdict::process_code),
        reason: verdict.map(|verdict| verdict.reason),
        message: String::new(),
        result: None,
        attempts: vec![record],
    };
    match form {
        Some(WhyForm::Json) => super::json(outcome),
        None => Ok(page),
    }
}
