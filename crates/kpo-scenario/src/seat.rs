//! An observer's place in a run on the core: its task, its eyes, and what is on its way to it.

use crate::audit::Born;
use kpo_core::{
    Because, ClusterEvent, Command, CommandId, Create, Input, Pod, Refusal, Reply, Sight, Spec, State, Task, marks,
};
use kpo_lab::api::{Request, Response, User, Watch};
use kpo_lab::{Resource, Store, Time, World};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A reply on its way.
pub(crate) struct Coming {
    pub(crate) at: Time,
    pub(crate) id: CommandId,
    pub(crate) reply: Reply,
    /// The command, where the reply was lost: it is found out then what came of it.
    pub(crate) lost: Option<Command>,
    /// Whether it is a create that was withdrawn since.
    pub(crate) withdrawn: bool,
}

/// One observer.
pub(crate) struct Seat {
    pub(crate) name: String,
    pub(crate) task: Task,
    pub(crate) eyes: Eyes,
    /// What it is told next.
    pub(crate) inbox: VecDeque<Input>,
    pub(crate) replies: VecDeque<Coming>,
    pub(crate) drained: bool,
    pub(crate) until: Option<kpo_core::Time>,
    pub(crate) because: Option<Because>,
    pub(crate) tick_due: bool,
    /// Whether it only follows, and will when it comes again.
    pub(crate) follows: bool,
    /// Gone since a crash; the next one comes then.
    pub(crate) back_at: Option<Time>,
    /// Sees nothing any more: a defect put in on purpose.
    pub(crate) blind: bool,
}

impl Seat {
    pub(crate) fn new(name: &str, task: Task, eyes: Eyes) -> Self {
        Self {
            name: name.to_owned(),
            task,
            eyes,
            inbox: VecDeque::new(),
            replies: VecDeque::new(),
            drained: false,
            until: None,
            because: None,
            tick_due: false,
            follows: false,
            back_at: None,
            blind: false,
        }
    }

    pub(crate) fn next_reply(&self) -> Option<Time> {
        self.replies.iter().map(|coming| coming.at).min()
    }

    /// A reply that has come.
    pub(crate) fn reply_due(&mut self, now: Time) -> Option<Coming> {
        let index = self.replies.iter().position(|coming| coming.at <= now)?;
        self.replies.remove(index)
    }
}

/// How pods are seen.
#[derive(Debug, Default)]
pub(crate) struct Eyes {
    /// One watch on all of the task's pods, by label; else one a pod, by name.
    shared: bool,
    watches: Vec<Watch>,
    ready: VecDeque<Input>,
}

impl Eyes {
    /// One watch a pod, from its create on.
    pub(crate) fn own() -> Self {
        Self::default()
    }

    /// One watch by the task's label, from now on.
    pub(crate) fn by_label(now: Time, world: &mut World, namespace: &str, task: &str) -> Self {
        let rv = world.store().rv();
        let query = format!("labelSelector={}%3D{task}", marks::TASK.replace('/', "%2F"));
        Self {
            shared: true,
            watches: watch(now, world, namespace, &query, rv).into_iter().collect(),
            ready: VecDeque::new(),
        }
    }

    /// The same, after a list, for an observer that knows of pods already: what is there is seen, what is not is missing.
    pub(crate) fn relisted(now: Time, world: &mut World, state: &State) -> Self {
        let (namespace, task) = (&state.spec.namespace, &state.spec.task);
        let mut eyes = Self::by_label(now, world, namespace, task);
        let there = pods_of(world.store(), namespace, task);
        let known = state.leaving.iter().map(|leaving| &leaving.attempt).chain([&state.current]);
        let known = known.filter_map(|attempt| attempt.ledger.uid().map(str::to_owned));
        let missing: Vec<String> = known.filter(|uid| there.iter().all(|pod| pod.metadata.uid != *uid)).collect();
        eyes.ready.extend(there.into_iter().map(|pod| Input::Seen { sight: Sight::Present, pod: Box::new(pod) }));
        eyes.ready.extend(missing.into_iter().map(|uid| Input::Missing { uid }));
        eyes.ready.push_back(Input::Covered { gapless: false });
        eyes
    }

    /// A pod was created, or no longer matches: it is watched by its name from there on.
    pub(crate) fn look_at(&mut self, now: Time, world: &mut World, pod: &Pod) {
        let rv = pod.metadata.resource_version.parse().unwrap_or(0);
        let query = format!("fieldSelector=metadata.name%3D{}", pod.metadata.name);
        self.watches.extend(watch(now, world, &pod.metadata.namespace, &query, rv));
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// The next sight.
    pub(crate) fn next(&mut self, now: Time, store: &Store) -> Option<Input> {
        for watch in &mut self.watches {
            self.ready.extend(watch.poll(now, store).into_iter().filter_map(|event| sight(event.kind, &event.object)));
        }
        self.ready.pop_front()
    }
}

fn watch(now: Time, world: &mut World, namespace: &str, query: &str, rv: u64) -> Option<Watch> {
    // Longer than any run: no end of a watch is a part of the story.
    let target =
        format!("/api/v1/namespaces/{namespace}/pods?watch=1&{query}&resourceVersion={rv}&timeoutSeconds=9000000");
    let request = Request::new("GET", &target, User::admin());
    match kpo_lab::api::handle(now, world.store_mut(now), &request) {
        Response::Watch(watch) => Some(*watch),
        _ => None,
    }
}

fn sight(kind: &str, object: &Arc<Value>) -> Option<Input> {
    let sight = match kind {
        "ADDED" | "MODIFIED" => Sight::Present,
        "DELETED" => Sight::Deleted,
        _ => return None,
    };
    Some(Input::Seen { sight, pod: Box::new(pod(object)?) })
}

pub(crate) fn pod(object: &Value) -> Option<Pod> {
    serde_json::from_value(object.clone()).ok()
}

/// The pods that carry the task's label.
pub(crate) fn pods_of(store: &Store, namespace: &str, task: &str) -> Vec<Pod> {
    let all = store.list(Resource::Pods, Some(namespace));
    all.filter(|pod| pod["metadata"]["labels"][marks::TASK] == task).filter_map(|object| pod(object)).collect()
}

/// Whether a pod is in a state as the store has it.
pub(crate) fn is_in_state(store: &Store, born: &Born, spec: &Spec, pod: &str, state: &str) -> bool {
    let found = store.get(Resource::Pods, &spec.namespace, pod);
    let Some(found) = found else {
        return state == "gone" && born.pods.iter().any(|(_, name, _)| name == pod);
    };
    let phase = found["status"]["phase"].as_str().unwrap_or_default();
    match state {
        "created" => true,
        "gated" => found["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()),
        "scheduled" => found["spec"]["nodeName"].is_string(),
        "running" => phase == "Running",
        "terminating" => found["metadata"]["deletionTimestamp"].is_string(),
        "ended" => ["Succeeded", "Failed"].contains(&phase),
        _ => false,
    }
}

// --- requests and replies, as the engine makes and reads them -------------------------------------------------------------------------

pub(crate) fn named(command: &Command) -> String {
    match command {
        Command::Create(create) => format!("create {}", create.name),
        Command::Withdraw { .. } => "withdraw".to_owned(),
        Command::Read { name, .. } => format!("read {name}"),
        Command::Delete { name, .. } => format!("delete {name}"),
        Command::Ungate { name, .. } => format!("ungate {name}"),
        Command::Release { name, .. } => format!("release {name}"),
        Command::Annotate { name, .. } => format!("annotate {name}"),
        Command::Protect { name, .. } => format!("protect {name}"),
        Command::ListEvents { .. } => "list events".to_owned(),
        Command::FollowLog { name, container, .. } => format!("follow log {name}/{container}"),
        Command::CloseLogs { name, .. } => format!("close logs {name}"),
        Command::ReadResult { name, .. } => format!("read result {name}"),
        Command::Deliver(_) => "deliver".to_owned(),
    }
}

pub(crate) fn is_write(command: &Command) -> bool {
    matches!(
        command,
        Command::Create(_)
            | Command::Delete { .. }
            | Command::Ungate { .. }
            | Command::Release { .. }
            | Command::Annotate { .. }
            | Command::Protect { .. }
    )
}

pub(crate) fn seen(object: &Value) -> Reply {
    match pod(object) {
        Some(pod) => Reply::Pod(Box::new(pod)),
        None => Reply::NotFound,
    }
}

/// A failure: its Status.
pub(crate) fn refused(status: &Value) -> Reply {
    let text = |key: &str| status[key].as_str().unwrap_or_default().to_owned();
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(0);
    if code == 404 && status["details"]["kind"] == "pods" {
        return Reply::NotFound;
    }
    let retry_after = status["details"]["retryAfterSeconds"].as_u64().map(Duration::from_secs);
    Reply::Refused(Refusal { code, reason: text("reason"), message: text("message"), retry_after })
}

/// The answer to a write that is bound to a UID; `shows`: whether the core wants to see the pod.
pub(crate) fn written(answer: Result<Value, Value>, shows: bool) -> Reply {
    match answer {
        Ok(object) if shows => seen(&object),
        Ok(_) => Reply::Done,
        Err(status) if status["code"] == 404 => Reply::NotFound,
        Err(status) if status["code"] == 409 => {
            let message = status["message"].as_str().unwrap_or_default();
            if message.contains("UID in") { Reply::NotFound } else { Reply::Conflict }
        }
        // A patch that names another UID than the pod's.
        Err(status) if status["details"]["causes"][0]["field"] == "metadata.uid" => Reply::NotFound,
        Err(status) => refused(&status),
    }
}

pub(crate) fn delete_body(uid: &str, resource_version: &str, grace: Option<u32>) -> Value {
    let mut body = json!({
        "apiVersion": "v1", "kind": "DeleteOptions",
        "preconditions": {"uid": uid, "resourceVersion": resource_version},
    });
    if let Some(seconds) = grace {
        body["gracePeriodSeconds"] = seconds.into();
    }
    body
}

/// The strategic merge patch that takes kpo's gate off.
pub(crate) fn without_gate(uid: &str) -> Value {
    json!({"metadata": {"uid": uid}, "spec": {"schedulingGates": [{"$patch": "delete", "name": marks::GATE}]}})
}

/// The strategic merge patch that puts kpo's finalizer on.
pub(crate) fn with_finalizer(uid: &str) -> Value {
    json!({"metadata": {"uid": uid, "finalizers": [marks::FINALIZER]}})
}

/// The strategic merge patch that takes kpo's finalizer off.
pub(crate) fn without_finalizer(uid: &str) -> Value {
    json!({"metadata": {"uid": uid, "$deleteFromPrimitiveList/finalizers": [marks::FINALIZER]}})
}

pub(crate) fn annotation(command: &Command) -> Value {
    let Command::Annotate { uid, annotations, active_deadline_seconds, resource_version, .. } = command else {
        return Value::Null;
    };
    let mut patch = json!({"metadata": {"uid": uid, "annotations": {}}});
    for (key, value) in annotations {
        patch["metadata"]["annotations"][key] = value.as_str().into();
    }
    if let Some(version) = resource_version {
        patch["metadata"]["resourceVersion"] = version.as_str().into();
    }
    if let Some(seconds) = active_deadline_seconds {
        patch["spec"] = json!({"activeDeadlineSeconds": seconds});
    }
    patch
}

/// Events about a pod of that name: some name no UID.
pub(crate) fn events(store: &Store, namespace: &str, name: &str) -> Vec<ClusterEvent> {
    let all = store.list(Resource::Events, Some(namespace));
    let about = all.filter(|event| event["involvedObject"]["name"] == name);
    about.filter_map(|event| serde_json::from_value((**event).clone()).ok()).collect()
}

/// What of the cluster's part came to nothing: a scenario that says it shows something else.
pub(crate) fn without_effect(world: &World) -> Vec<String> {
    let refused = world.refusals().iter().cloned();
    refused.chain(world.idle_happenings()).map(|why| format!("without effect: {why}")).collect()
}

/// Whether any event tells of a pod of that name.
pub(crate) fn is_told_of(store: &Store, namespace: &str, name: &str) -> bool {
    store.list(Resource::Events, Some(namespace)).any(|event| event["involvedObject"]["name"] == name)
}

pub(crate) fn same_attempt(found: &Value, sent: &Value) -> bool {
    let nonce = |pod: &Value| pod["metadata"]["annotations"][marks::NONCE].clone();
    let attempt = |pod: &Value| pod["metadata"]["labels"][marks::ATTEMPT].clone();
    nonce(found) == nonce(sent) && attempt(found) == attempt(sent)
}

pub(crate) fn name_taken(found: &Value) -> Reply {
    Reply::NameTaken {
        uid: found["metadata"]["uid"].as_str().unwrap_or_default().to_owned(),
        terminating: found["metadata"]["deletionTimestamp"].is_string(),
    }
}

/// A create that nobody knows the fate of.
pub(crate) fn in_doubt(create: &Create) -> Reply {
    let message = format!("the pod {:?} may have been created, and is not to be found", create.name);
    Reply::Refused(Refusal { code: 0, reason: "InDoubt".to_owned(), message, retry_after: None })
}

// --- defects that are put in on purpose -----------------------------------------------------------------------------------------------

/// Whether that input shows a pod whose phase is Running.
pub(crate) fn shows_running(input: &Input) -> bool {
    matches!(input, Input::Seen { pod, .. } if pod.status.phase == kpo_core::pod::Phase::Running)
}

/// Takes all signs of life off: what ran is taken for what never ran.
pub(crate) fn launder(input: &mut Input) {
    if let Input::Seen { pod, .. } | Input::Reply { reply: Reply::Pod(pod), .. } = input {
        pod.status.container_statuses.clear();
        pod.status.init_container_statuses.clear();
        pod.spec.node_name = None;
        if pod.status.phase == kpo_core::pod::Phase::Running {
            pod.status.phase = kpo_core::pod::Phase::Pending;
        }
    }
}
