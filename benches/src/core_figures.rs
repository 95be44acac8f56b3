//! The core alone: no cluster, no clock.

use crate::figures::Size;
use crate::table::Row;
use crate::{Error, heap};
use kpo_core::{Command, Input, Observer, Output, Pod, Reply, Sight, Spec, Task, Time};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many tasks run from beginning to end.
const TASKS: u64 = 50_000;

pub(crate) fn measure(size: Size) -> Result<Vec<Row>, Error> {
    let pods = Pods::new()?;
    let count = (TASKS / size.divisor).max(1);
    let (mut steps, began) = (0, Instant::now());
    for _ in 0..count {
        steps += life(&pods)?;
    }
    let rate = steps as f64 / began.elapsed().as_secs_f64();
    let running = at_work(&pods)?;
    let before = heap::live();
    let copy = running.clone();
    let on_heap = heap::live() - before;
    let bytes = serde_json::to_string(copy.state())?.len();
    Ok(vec![
        Row::plain("the core: steps a second, one thread", format!("{rate:.0}")),
        Row::plain("the state of a running task", format!("{bytes} bytes as JSON, {on_heap} on the heap")),
    ])
}

/// A pod from its creation to its end, as a kubelet shows it.
struct Pods {
    seen: Vec<Pod>,
    gone: Pod,
}

impl Pods {
    fn new() -> Result<Self, Error> {
        let ready = json!([{"type": "PodScheduled", "status": "True"}]);
        let base = |state: Value| json!([{"name": "base", "containerID": "c://1", "state": state}]);
        let running = base(json!({"running": {"startedAt": "2027-01-15T08:00:02Z"}}));
        let ended = base(json!({"terminated": {"exitCode": 0, "reason": "Completed", "containerID": "c://1",
            "startedAt": "2027-01-15T08:00:02Z", "finishedAt": "2027-01-15T08:00:05Z"}}));
        let waiting = json!([{"name": "base", "state": {"waiting": {"reason": "ContainerCreating"}}}]);
        let seen = [
            (1, json!({}), json!({"phase": "Pending"})),
            (2, json!({"nodeName": "node-1"}), json!({"phase": "Pending", "conditions": ready})),
            (3, json!({"nodeName": "node-1"}), json!({"phase": "Pending", "containerStatuses": waiting})),
            (4, json!({"nodeName": "node-1"}), json!({"phase": "Running", "containerStatuses": running})),
            (5, json!({"nodeName": "node-1"}), json!({"phase": "Succeeded", "containerStatuses": ended})),
        ];
        let seen: Vec<Pod> =
            seen.into_iter().map(|(version, spec, status)| pod(version, spec, status)).collect::<Result<_, _>>()?;
        let mut gone = seen.last().cloned().ok_or("no pod")?;
        gone.metadata.resource_version = "6".into();
        gone.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2027-01-15T08:00:06Z"))?);
        gone.metadata.deletion_grace_period_seconds = Some(0);
        Ok(Self { seen, gone })
    }
}

fn pod(version: u32, mut spec: Value, status: Value) -> Result<Pod, Error> {
    spec["containers"] = json!([{"name": "base", "image": "busybox"}]);
    spec["restartPolicy"] = json!("Never");
    let annotations = json!({"kpo.rs/nonce": "n0nce", "kpo.rs/observer": Observer::first("me").mark()});
    let labels = json!({"kpo.rs/task": "hello", "kpo.rs/attempt": "1"});
    let metadata = json!({"name": "hello-1", "namespace": "default", "uid": "u1", "resourceVersion": version.to_string(),
        "creationTimestamp": "2027-01-15T08:00:00Z", "annotations": annotations, "labels": labels});
    Ok(serde_json::from_value(json!({"metadata": metadata, "spec": spec, "status": status}))?)
}

/// A task, its time, and the steps so far.
struct Life<'a> {
    pods: &'a Pods,
    task: Task,
    now: Time,
    steps: u64,
}

impl<'a> Life<'a> {
    fn new(pods: &'a Pods) -> Result<Self, Error> {
        let now = Time::from_secs(1_800_000_000);
        let mut spec = Spec::minimal("hello", "default", "n0nce");
        spec.template.container = "base".into();
        spec.template.counted = vec!["base".into()];
        let mut life = Self { pods, task: Task::new(now, spec, Observer::first("me")), now, steps: 0 };
        life.settle()?;
        Ok(life)
    }

    fn step(&mut self, input: Input) -> Result<(), Error> {
        self.now = self.now + Duration::from_millis(10);
        self.steps += 1;
        self.task.handle(self.now, input)?;
        Ok(())
    }

    /// Does what is commanded until nothing is.
    fn settle(&mut self) -> Result<(), Error> {
        let mut commands = VecDeque::new();
        loop {
            match self.task.poll() {
                Output::Command(_, Command::FollowLog { .. }) | Output::Event(_) => {}
                Output::Command(id, command) => commands.push_back((id, command)),
                Output::Wait(_) => {
                    let Some((to, command)) = commands.pop_front() else { return Ok(()) };
                    let reply = match command {
                        Command::Create(_) => Reply::Pod(Box::new(self.pods.seen[0].clone())),
                        _ => Reply::Done,
                    };
                    self.step(Input::Reply { to, reply })?;
                }
            }
        }
    }

    fn see(&mut self, sight: Sight, pod: &Pod) -> Result<(), Error> {
        self.step(Input::Seen { sight, pod: Box::new(pod.clone()) })?;
        self.settle()
    }
}

/// A task whose program runs.
fn at_work(pods: &Pods) -> Result<Task, Error> {
    let mut life = Life::new(pods)?;
    pods.seen.iter().take(4).try_for_each(|pod| life.see(Sight::Present, pod))?;
    Ok(life.task)
}

/// A task from its beginning to its end: how many steps that were.
fn life(pods: &Pods) -> Result<u64, Error> {
    let mut life = Life::new(pods)?;
    pods.seen.iter().try_for_each(|pod| life.see(Sight::Present, pod))?;
    life.see(Sight::Deleted, &pods.gone)?;
    if life.task.is_over() { Ok(life.steps) } else { Err("the core did not come to its end".into()) }
}
