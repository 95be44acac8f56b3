//! Finding a task again in the cluster.

use super::clock::Clock;
use super::logs::LogsRead;
use super::{Running, TaskRequest, start, sweeper};
use crate::body::{self, Template};
use crate::hook::KubernetesHook;
use crate::identity;
use crate::manager::PodManager;
use crate::request::{Call, RequestError};
use crate::result;
use crate::watch::{PodVersion, Watch, WatchOptions};
use kpo_core::{Attach, AttachError, Carried, Pod, Spec, Task, marks};
use serde_json::Value;
use std::time::Duration;

/// When a task without a pod is looked for again: an observer asks for the next attempt within milliseconds of the end of the one before, and an
/// API server under load answers that within the second.
const LOOKED_FOR_AGAIN: [Duration; 3] =
    [Duration::from_millis(200), Duration::from_millis(600), Duration::from_millis(1200)];

/// Which task, and how.
#[derive(Debug, Clone)]
pub struct AttachRequest {
    /// The task's id.
    pub task: String,
    /// The namespace.
    pub namespace: String,
    /// Whether to take over from the observer that stands on the pod. Default: only to follow.
    pub take_over: bool,
    /// The manifest, where the caller has it. `None`: the one that travels with the pod.
    pub template: Option<Template>,
    /// The task's nonce, where it is known: pods of a namesake are left alone. `None`: all pods of that id must be of one task.
    pub nonce: Option<String>,
    /// Whether the task is known to be over: whatever is found of it, no other attempt is made. Default: it may go on.
    pub over: bool,
    /// How far logs were read already: they begin behind it. Others begin at their start.
    pub read: LogsRead,
}

impl AttachRequest {
    /// Only to follow a task, of which nothing is known but its id.
    pub fn follow(task: impl Into<String>, namespace: impl Into<String>) -> Self {
        let (task, namespace) = (task.into(), namespace.into());
        let read = LogsRead::new();
        Self { task, namespace, take_over: false, template: None, nonce: None, over: false, read }
    }
}

/// Why a task could not be attached to.
#[derive(Debug, thiserror::Error)]
pub enum AttachFailure {
    /// Its pods could not be listed.
    #[error("the pods of task {task} could not be listed")]
    List {
        /// The task's id.
        task: String,
        /// Why.
        #[source]
        source: RequestError,
    },
    /// What was found is no task to go on with.
    #[error(transparent)]
    Found(#[from] AttachError),
}

/// Attaches to a task: its pods are found by its id, its policy, budgets and verdicts so far by what they carry.
///
/// Without a manifest (none was given, and none travels with the pod) it follows and never recreates. Where no pod is found it looks again for two
/// seconds: that may be the moment between two attempts.
///
/// ```no_run
/// # async fn example(hook: kpo::KubernetesHook) -> Result<(), Box<dyn std::error::Error>> {
/// use kpo::driver::{self, AttachRequest, What};
/// let request = AttachRequest { take_over: true, ..AttachRequest::follow("nightly", "batch") };
/// let mut running = driver::attach(&hook, request).await?;
/// println!("asked for with {} reruns", running.spec().rerun.never_started);
/// while let Some(event) = running.next().await {
///     if let What::Outcome(delivery) = event.what {
///         println!("{}", delivery.taken().message);
///     }
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`AttachFailure`].
pub async fn attach(hook: &KubernetesHook, request: AttachRequest) -> Result<Running, AttachFailure> {
    let pods = hook.pods(&request.namespace);
    let watch = Watch::start(pods.requests().clone(), &request.namespace, WatchOptions::of(pods.requests()));
    let attached = attach_beside(hook, &watch, request).await?;
    Ok(attached.expect("a new watch has no subscriber"))
}

/// Attaches to a task beside others, all seen by one watch of their namespace ([`Watch::start`]). `None`: the task is watched in this process
/// already.
///
/// # Errors
/// [`AttachFailure`].
pub async fn attach_beside(
    hook: &KubernetesHook,
    watch: &Watch,
    request: AttachRequest,
) -> Result<Option<Running>, AttachFailure> {
    let pods = hook.pods(&request.namespace);
    let Some(eyes) = watch.subscribe(&request.task) else { return Ok(None) };
    // Looking begins before the list, so that nothing falls in between. Where it cannot begin, that is told, and the list says why.
    eyes.said().await;
    let relists = eyes.relists();
    let mut found = found(&pods, &request.task).await?;
    let of_another = |pod: &Value| {
        request.nonce.as_deref().is_some_and(|nonce| pod["metadata"]["annotations"][marks::NONCE] != nonce)
    };
    found.retain(|pod| !of_another(pod));
    let template = request.template.or_else(|| found.iter().rev().find_map(carried_template));
    let seen: Vec<Pod> = found.into_iter().filter_map(|pod| serde_json::from_value(pod).ok()).collect();
    seen.iter().for_each(|pod| eyes.expect_since(relists, &PodVersion::of(pod)));
    let clock = Clock::start(hook);
    sweeper::start(&pods, watch, clock);
    let how = Attach {
        task: request.task,
        observer: identity::observer(),
        take_over: request.take_over,
        has_manifest: template.is_some(),
        nonce: request.nonce,
        over: request.over,
    };
    let core = Task::attach(clock.now(), &how, seen)?;
    let asked = template.map(|template| asked_for(core.spec().clone(), template));
    Ok(Some(start(pods, core, asked, Some(eyes), clock, request.read)))
}

/// The task as it was asked for.
fn asked_for(spec: Spec, template: Template) -> TaskRequest {
    let plan = spec.result.and_then(|_| result::detect(&template.manifest(), &spec.template.container));
    TaskRequest { spec, template, plan }
}

/// Whether a task of that id has pods in the namespace: their names, oldest attempt first.
///
/// ```no_run
/// # async fn example(hook: kpo::KubernetesHook) -> Result<(), Box<dyn std::error::Error>> {
/// let is_free = kpo::driver::find(&hook, "batch", "nightly").await?.is_empty();
/// # Ok(()) }
/// ```
///
/// # Errors
/// The list's.
pub async fn find(hook: &KubernetesHook, namespace: &str, task: &str) -> Result<Vec<String>, RequestError> {
    let list = hook.pods(namespace).list(&format!("{}={task}", marks::TASK), Call::forever()).await?;
    Ok(list.items.iter().filter_map(|pod| pod["metadata"]["name"].as_str()).map(str::to_owned).collect())
}

/// A task of that name is there: nothing is to be created under it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InUse {
    /// It has ended, and this pod of it is kept.
    Kept {
        /// Its name.
        pod: String,
    },
    /// This pod of it is there.
    There {
        /// Its name.
        pod: String,
    },
}

/// Whether a task of that id has pods in the namespace. As the first request it also tells a wrong address, certificate or token at once, where
/// later outages are ridden out. Who may not list pods is told by the create, for the first attempt's name.
///
/// # Errors
/// The list's.
pub async fn in_use(
    hook: &KubernetesHook,
    namespace: &str,
    task: &str,
    call: Call,
) -> Result<Option<InUse>, RequestError> {
    match hook.pods(namespace).list(&format!("{}={task}", marks::TASK), call).await {
        Ok(list) => Ok(list.items.first().map(InUse::of)),
        Err(error) if error.failure.is_forbidden() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether pods may be protected in the namespace, where the task asks for that: a finalizer that may not be taken off again would hold each of its
/// pods for ever.
///
/// # Errors
/// The patch's that is tried: whose right it is that is missing.
pub async fn demand_protection(hook: &KubernetesHook, spec: &Spec, call: Call) -> Result<(), RequestError> {
    if spec.protect {
        hook.pods(&spec.namespace).patch_dry_run(&spec.task, call).await?;
    }
    Ok(())
}

impl InUse {
    /// A task's pod was kept when that had finished: its verdict stands on it.
    fn of(pod: &Value) -> Self {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let state = pod["metadata"]["annotations"][marks::STATE].as_str();
        let carried = state.and_then(|state| Carried::from_json(state).ok());
        match carried.is_some_and(|carried| carried.verdict.is_some()) {
            true => InUse::Kept { pod: name },
            false => InUse::There { pod: name },
        }
    }
}

/// Pods of the task, oldest attempt first. Between two attempts there is none for a moment: the one before is gone, and the next is asked for.
async fn found(pods: &PodManager, task: &str) -> Result<Vec<Value>, AttachFailure> {
    for pause in LOOKED_FOR_AGAIN {
        let found = pods_of(pods, task).await?;
        if !found.is_empty() {
            return Ok(found);
        }
        tokio::time::sleep(pause).await;
    }
    pods_of(pods, task).await
}

async fn pods_of(pods: &PodManager, task: &str) -> Result<Vec<Value>, AttachFailure> {
    let list = pods.list(&format!("{}={task}", marks::TASK), Call::forever()).await;
    let list = list.map_err(|source| AttachFailure::List { task: task.to_owned(), source })?;
    let mut found = list.items;
    found.sort_by_key(|pod| pod["metadata"]["labels"][marks::ATTEMPT].as_str().and_then(|n| n.parse::<u32>().ok()));
    Ok(found)
}

fn carried_template(pod: &Value) -> Option<Template> {
    let annotations = &pod["metadata"]["annotations"];
    let mut template = Template::carried(annotations[marks::MANIFEST].as_str()?).ok()?;
    // The attempt before was told so, and so is the next.
    template.undisturbed = body::is_undisturbed(pod) && !body::is_undisturbed(&template.manifest());
    Some(template)
}
