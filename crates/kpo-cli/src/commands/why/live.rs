//! `kpo why` of a pod or a task in a cluster.

use super::super::find;
use super::{Around, CliError, ErrorKind, WhyArgs, ended, explain as explained};
use crate::case::{self, PodCase};
use crate::connect::FIRST_ANSWER;
use crate::options::Form;
use crate::records::{Record, What};
use crate::render::{self, Preemptor};
use kpo::request::{ApiFailure, Call, RequestError};
use kpo::{KubernetesHook, PodManager};
use kpo_core::{AttemptRecord, Carried, ClusterEvent, Outcome, Pod, Sight, Spec, Time, Verdict, marks};
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
        return of_pod(&hook, &pods, pod, args).await;
    }
    let none = format!("there is no pod {name} in namespace {namespace}");
    let newest_of = async |task: &str| newest(&pods, task).await.map_err(|error| unlisted(&none, name, error));
    if let Some(pod) = newest_of(name).await? {
        return of_pod(&hook, &pods, pod, args).await;
    }
    if let Some((task, _)) = name.rsplit_once('-')
        && let Some(pod) = newest_of(task).await?
        && let Some((pod, spec, record)) = earlier(&pod, name)
    {
        return of_record(&hook, &pod, &spec, record, args.output).await;
    }
    if let Some(page) = of_events(&pods, name).await?.filter(|_| args.output.is_none()) {
        return Ok(page);
    }
    let again = args.connection.again(&namespace);
    Err(CliError::new(ErrorKind::NotFound, format!("{none}, no task of that name has one, and no event tells of one"))
        .hint("To record the next: kubectl get pods -w -o json --output-watch-events")
        .hint(format!("Tasks that have a pod: {} ls{again}", render::program()))
        .hints(find::TRACES))
}

/// What the events tell of a pod of that name, or of a task's first, that is gone. `None`: there are none, or they may not be read.
async fn of_events(pods: &PodManager, name: &str) -> Result<Option<String>, CliError> {
    for pod in [name.to_owned(), format!("{name}-1")] {
        let events = match pods.list_events_of_name(&pod, Call::within(FIRST_ANSWER)).await {
            Ok(events) => events,
            Err(error) if error.failure.is_forbidden() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let told: Vec<ClusterEvent> = events.iter().filter_map(|event| ClusterEvent::deserialize(event).ok()).collect();
        if !told.is_empty() {
            return Ok(Some(render::events_page(&pod, &told, &find::TRACES)));
        }
    }
    Ok(None)
}

/// A task of that name may have a pod, and it may not be looked for.
fn unlisted(none: &str, name: &str, error: RequestError) -> CliError {
    match &error.failure {
        ApiFailure::Forbidden(status) => {
            let (who, rule) = render::explained(&status.message);
            let text = format!("{none}, and whether a task {name} has one is not known: {who}");
            CliError::new(ErrorKind::Forbidden, text).hints(rule)
        }
        _ => error.into(),
    }
}

async fn of_pod(hook: &KubernetesHook, pods: &PodManager, pod: Value, args: &WhyArgs) -> Result<String, CliError> {
    let records = records(pods, &pod).await?;
    let case = case::find(&records, None, args.container.as_deref());
    let case = case.ok_or_else(|| CliError::new(ErrorKind::Refused, "the answer is no pod"))?;
    super::super::demand_container(&case.pod, args.container.as_deref())?;
    let around = Around {
        then: before(&case),
        preemptor: preemptor(hook, case.verdict.as_ref()).await,
        is_there: true,
        again: args.connection.again(pods.namespace()),
    };
    explained(&case, &around, args.output)
}

/// What the cluster shows of it now: one sight, and the events that it may read.
async fn records(pods: &PodManager, pod: &Value) -> Result<Vec<Record>, CliError> {
    let now = Time::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seen =
        Pod::deserialize(pod).map_err(|error| CliError::because(ErrorKind::Refused, "the answer is no pod", &error))?;
    let (name, uid) = (seen.metadata.name.clone(), seen.metadata.uid.clone());
    let sight = What::Seen(Sight::Present, Box::new(seen), Box::new(pod.clone()));
    let mut records = vec![Record { at: now, what: sight }];
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

/// Who preempted it: one look at the pod that the scheduler's event names. It may be gone, or in a namespace that may not be read.
async fn preemptor(hook: &KubernetesHook, verdict: Option<&Verdict>) -> Option<Preemptor> {
    let named = Preemptor::of(verdict?)?;
    let (namespace, name) = named.pod.split_once('/')?;
    let found = hook.pods(namespace).get(name, Call::within(FIRST_ANSWER)).await.ok().flatten();
    let Some(pod) = found else { return Some(named) };
    let owners = pod["metadata"]["ownerReferences"].as_array();
    let owner = owners.and_then(|owners| owners.iter().find(|owner| owner["controller"] == true).or(owners.first()));
    let owner =
        owner.and_then(|owner| Some(format!("{} {namespace}/{}", owner["kind"].as_str()?, owner["name"].as_str()?)));
    Some(Preemptor { owner, priority: pod["spec"]["priority"].as_i64(), ..named })
}

/// The newest pod of a task of that name.
async fn newest(pods: &PodManager, task: &str) -> Result<Option<Value>, RequestError> {
    match find::newest(pods, task, Call::within(FIRST_ANSWER)).await {
        // A name that no label can have is no task's.
        Err(error) if matches!(error.failure, ApiFailure::Refused(_)) => Ok(None),
        found => found,
    }
}

/// An attempt that is gone, as its successor carries it: the successor, the task, and the record.
fn earlier(successor: &Value, name: &str) -> Option<(Pod, Spec, AttemptRecord)> {
    let pod = Pod::deserialize(successor).ok()?;
    let carried = carried(&pod)?;
    let record = carried.attempts.into_iter().find(|attempt| attempt.pod.name == name)?;
    Some((pod, carried.spec, record))
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

async fn of_record(
    hook: &KubernetesHook,
    successor: &Pod,
    spec: &Spec,
    record: AttemptRecord,
    form: Option<Form>,
) -> Result<String, CliError> {
    let number = successor.metadata.labels.get(marks::ATTEMPT).cloned().unwrap_or_default();
    let then = format!("attempt {number} follows it: pod {}", successor.metadata.name);
    let verdict = record.verdict.as_ref().map(|judged| judged.verdict.clone());
    let preemptor = preemptor(hook, verdict.as_ref()).await;
    let known = render::Known {
        container: &spec.template.container,
        spec: Some(spec),
        preemptor: preemptor.as_ref(),
        ..render::Known::default()
    };
    let Some(form) = form else { return Ok(render::record_page(&record, known, &then)) };
    let mut outcome = Outcome {
        verdict: verdict.as_ref().map(|verdict| verdict.class.name().to_owned()),
        exit_code: verdict.as_ref().map(Verdict::process_code),
        reason: verdict.as_ref().map(|verdict| verdict.reason),
        ..Outcome::living(&spec.task, &successor.metadata.namespace, vec![record])
    };
    outcome.message = render::one_line(&outcome, known);
    form.text(&outcome)
}
