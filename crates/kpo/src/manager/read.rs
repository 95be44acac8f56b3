//! Reading a pod again after a 404, and what is said when it stays away.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use kpo_core::{
    Pod,
    pod::{Condition, Phase},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::PodManager;
use crate::request::{ApiRequest, Call, RequestError};

/// When a pod that was not found is read again. Apart from the retries of requests, and from the user's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadRetry {
    /// The waits before each further read, exactly. Default 2 s, 4 s, 8 s (airflow#59626). Empty: a 404 is final at once.
    pub delays: Vec<Duration>,
}

impl Default for ReadRetry {
    fn default() -> Self {
        Self { delays: [2, 4, 8].map(Duration::from_secs).to_vec() }
    }
}

/// Why a pod could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// It was not there, each time.
    #[error(transparent)]
    NotFound(Box<PodNotFound>),
    /// The request failed for another reason than a 404: that is not read again here.
    #[error(transparent)]
    Request(#[from] RequestError),
}

/// A pod that was not there, at the first read nor at any later one.
#[derive(Debug, Clone, PartialEq)]
pub struct PodNotFound {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The waits after which it was read again; fewer than asked for where the call's deadline came first.
    pub waited: Vec<Duration>,
    /// What this process saw of it last. `None`: nothing, ever.
    pub last_seen: Option<LastSeen>,
    /// What the events say about somebody taking it away.
    pub events: EventsSought,
}

/// The last that was seen of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastSeen {
    /// Its UID.
    pub uid: String,
    /// `status.phase`.
    pub phase: Phase,
    /// `spec.nodeName`; `None`: not bound.
    pub node: Option<String>,
    /// Its conditions, `Type=Status` with `(Reason)` where there is one.
    pub conditions: Vec<String>,
    /// Whether its deletion had been requested.
    pub terminating: bool,
    /// Whether a condition says that it was taken away (`DisruptionTarget=True`), in the condition's words.
    pub disruption: Option<String>,
}

/// The search for events that explain a missing pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventsSought {
    /// What was found that speaks of a disruption: `Reason: message`, oldest first. Empty: nothing (events are kept for an hour).
    Found(Vec<String>),
    /// They could not be listed; the reason in one line.
    Refused(String),
}

/// Reasons of events that speak of a pod being taken away (scheduler, kubelet, taint manager, autoscalers; knowledge of Kubernetes 1.34).
const DISRUPTION_REASONS: [&str; 9] = [
    "Preempted",
    "Preempting",
    "Evicted",
    "TaintManagerEviction",
    "ScaleDown",
    "Disrupted",
    "NodeNotReady",
    "NodeShutdown",
    "DeletingNode",
];

/// Time for looking for evidence: the answer is late already.
const EVIDENCE_TIME: Duration = Duration::from_secs(5);

impl PodManager {
    /// Reads the pod. On a 404, and only on a 404, it is read again after 2 s, 4 s and 8 s ([`ReadRetry`]). Each single read has the
    /// request layer's own retries for what is no answer; they neither count here nor are counted. A read that would come after the call's
    /// deadline is not waited for.
    ///
    /// # Errors
    /// [`ReadError::NotFound`] after the last read, with what was last seen of the pod, and one look at the events.
    ///
    /// ```no_run
    /// # async fn example(hook: kpo::KubernetesHook) -> Result<(), Box<dyn std::error::Error>> {
    /// use kpo::request::Call;
    /// let pod = hook.pods("batch").read_pod("nightly-1", Call::forever()).await?;
    /// println!("{}", pod["status"]["phase"]);
    /// # Ok(()) }
    /// ```
    pub async fn read_pod(&self, name: &str, call: Call) -> Result<Value, ReadError> {
        let mut waited = 0;
        loop {
            if let Some(pod) = self.get(name, call).await? {
                return Ok(pod);
            }
            let in_time = |delay: &&Duration| call.deadline.is_none_or(|deadline| Instant::now() + **delay < deadline);
            let Some(delay) = self.retry.delays.get(waited).filter(in_time) else {
                return Err(ReadError::NotFound(Box::new(self.not_found(name, waited).await)));
            };
            tracing::info!(target: "kpo::read", namespace = self.namespace(), pod = name, ?delay, "pod not found; reading it again");
            sleep(*delay).await;
            waited += 1;
        }
    }

    async fn not_found(&self, name: &str, waited: usize) -> PodNotFound {
        let last_seen = self.seen.last(self.namespace(), name);
        PodNotFound {
            namespace: self.namespace().to_owned(),
            name: name.to_owned(),
            waited: self.retry.delays[..waited].to_vec(),
            events: self.seek_events(name, last_seen.as_ref()).await,
            last_seen,
        }
    }

    /// One list, by UID where it is known, else by name (it may then speak of a namesake).
    async fn seek_events(&self, name: &str, last_seen: Option<&LastSeen>) -> EventsSought {
        let selector = match last_seen {
            Some(seen) => format!("involvedObject.uid={}", seen.uid),
            None => format!("involvedObject.kind=Pod,involvedObject.name={name}"),
        };
        let request =
            ApiRequest::list(self.namespace(), "events").query("fieldSelector", selector).query("limit", "500");
        match self.requests().once(&request, Some(EVIDENCE_TIME)).await {
            Ok(list) => EventsSought::Found(disruptions(&list)),
            Err(failure) => EventsSought::Refused(failure.to_string()),
        }
    }
}

fn disruptions(list: &Value) -> Vec<String> {
    let mut found: Vec<(&str, String)> = list["items"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|event| {
            let reason = event["reason"].as_str().filter(|r| DISRUPTION_REASONS.contains(r))?;
            let at = ["lastTimestamp", "eventTime", "firstTimestamp"].iter().find_map(|key| event[*key].as_str());
            Some((at.unwrap_or_default(), format!("{reason}: {}", event["message"].as_str().unwrap_or_default())))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, line)| line).collect()
}

impl PodNotFound {
    /// The same of reads that another client made: `seen` is the pod as it last saw it, `events` what its list of the pod's events gave, or
    /// one line on why there is none.
    pub fn told(
        namespace: &str,
        name: &str,
        waited: Vec<Duration>,
        seen: Option<&Value>,
        events: Result<&Value, String>,
    ) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            waited,
            last_seen: seen.and_then(|pod| Pod::deserialize(pod).ok()).map(|pod| LastSeen::of(&pod)),
            events: events.map_or_else(EventsSought::Refused, |list| EventsSought::Found(disruptions(list))),
        }
    }

    /// Whether anything seen says that the pod was taken away.
    pub fn has_evidence(&self) -> bool {
        let by_event = matches!(&self.events, EventsSought::Found(found) if !found.is_empty());
        by_event || self.last_seen.as_ref().is_some_and(|seen| seen.disruption.is_some())
    }
}

impl std::error::Error for PodNotFound {}

/// One line: which pod, how it was looked for, what was last seen, the possible cause with its evidence, and what to do.
impl fmt::Display for PodNotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, waited, last_seen, events } = self;
        write!(f, "pod {name:?} in namespace {namespace:?} was not found")?;
        if !waited.is_empty() {
            let waits: Vec<_> = waited.iter().map(|d| format!("{} s", d.as_secs_f64())).collect();
            write!(f, ", nor when it was read again after {}", waits.join(", "))?;
        }
        match last_seen {
            Some(seen) => write!(f, "; last seen: {seen}")?,
            None => f.write_str("; this process never saw it")?,
        }
        write!(f, "; {}", self.cause(events))?;
        write!(
            f,
            "; nothing brings a bare pod back: run it as a kpo task, which creates it again when nothing of it ran, or create it anew; \
             see `kubectl get events -n {namespace} --field-selector involvedObject.name={name}`"
        )
    }
}

impl PodNotFound {
    fn cause(&self, events: &EventsSought) -> String {
        let condition = self.last_seen.as_ref().and_then(|seen| seen.disruption.as_deref());
        let found = match events {
            EventsSought::Found(found) => found.as_slice(),
            EventsSought::Refused(_) => &[],
        };
        let evidence: Vec<&str> = condition.into_iter().chain(found.iter().map(String::as_str)).collect();
        let preemption =
            "a possible cause is preemption by pods of higher priority, such as DaemonSets on a fresh node";
        match (evidence.is_empty(), events) {
            (false, _) => format!("{preemption}; evidence: {}", evidence.join("; ")),
            (true, EventsSought::Refused(why)) => {
                format!("{preemption} (the events, which would tell, cannot be listed: {why})")
            }
            (true, EventsSought::Found(_)) => {
                format!("{preemption} (no event tells of it; events are kept for an hour)")
            }
        }
    }
}

impl LastSeen {
    fn of(pod: &Pod) -> Self {
        let Pod { metadata, spec, status } = pod;
        let is_disruption = |c: &&Condition| c.kind == "DisruptionTarget" && c.status == "True";
        Self {
            uid: metadata.uid.clone(),
            phase: status.phase,
            node: spec.node_name.clone().filter(|node| !node.is_empty()),
            conditions: status.conditions.iter().map(condition_line).collect(),
            terminating: metadata.deletion_timestamp.is_some(),
            disruption: status.conditions.iter().find(is_disruption).map(|condition| {
                let text = |text: &Option<String>| text.clone().unwrap_or_default();
                format!("condition DisruptionTarget {}: {}", text(&condition.reason), text(&condition.message))
            }),
        }
    }
}

fn condition_line(condition: &Condition) -> String {
    let Condition { kind, status, reason, .. } = condition;
    match reason.as_deref().filter(|reason| !reason.is_empty()) {
        Some(reason) => format!("{kind}={status} ({reason})"),
        None => format!("{kind}={status}"),
    }
}

/// `phase Pending, node "n1", terminating, PodScheduled=True, Ready=False (ContainersNotReady)`
impl fmt::Display for LastSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uid: _, phase, node, conditions, terminating, disruption: _ } = self;
        write!(f, "phase {phase:?}")?;
        match node {
            Some(node) => write!(f, ", node {node:?}")?,
            None => f.write_str(", no node")?,
        }
        if *terminating {
            f.write_str(", terminating")?;
        }
        for condition in conditions {
            write!(f, ", {condition}")?;
        }
        Ok(())
    }
}

/// The last sight of the pods that this process had to do with, for a message some day; the oldest are forgotten.
#[derive(Debug, Clone, Default)]
pub(crate) struct SeenPods(Arc<Mutex<VecDeque<(String, String, LastSeen)>>>);

/// Pods remembered.
const REMEMBERED: usize = 256;

impl SeenPods {
    /// From an answer's JSON, if it is of a pod.
    pub(crate) fn remember(&self, namespace: &str, pod: &Value) {
        if let Ok(pod) = Pod::deserialize(pod) {
            self.saw(namespace, &pod);
        }
    }

    pub(crate) fn saw(&self, namespace: &str, pod: &Pod) {
        let (name, seen) = (pod.metadata.name.as_str(), LastSeen::of(pod));
        if name.is_empty() || seen.uid.is_empty() {
            return;
        }
        let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pods.retain(|(ns, n, _)| (ns.as_str(), n.as_str()) != (namespace, name));
        if pods.len() == REMEMBERED {
            pods.pop_front();
        }
        pods.push_back((namespace.to_owned(), name.to_owned(), seen));
    }

    fn last(&self, namespace: &str, name: &str) -> Option<LastSeen> {
        let pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pods.iter().find(|(ns, n, _)| (ns.as_str(), n.as_str()) == (namespace, name)).map(|(_, _, seen)| seen.clone())
    }
}
