//! Pods of one namespace: create, read, change, delete, exec.
//!
//! Every write and delete is bound to a UID: a pod of the same name that came later is never touched. Objects are raw JSON
//! ([`serde_json::Value`]), so that nothing is lost that this crate does not know.

mod admission;
mod create;
mod doubt;
mod exec;
mod read;
mod sweep;
mod write;

#[cfg(test)]
mod exec_tests;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::request::{ApiRequest, Call, RequestError, Requests};

pub use admission::{Admission, Difference};
pub use create::{CreateError, Created};
use doubt::InDoubt;
pub use exec::{ExecCommand, ExecError, ExecOutput};
pub(crate) use read::SeenPods;
pub use read::{EventsSought, LastSeen, PodNotFound, ReadError, ReadRetry};
pub use write::{DeleteOptions, Precondition, Written};

/// Objects that one page of a list holds, as client-go's pager and kube ask for.
const PAGE: u32 = 500;

/// Works on the pods of one namespace. Clones share everything.
#[derive(Debug, Clone)]
pub struct PodManager {
    requests: Requests,
    namespace: String,
    retry: ReadRetry,
    seen: SeenPods,
    in_doubt: InDoubt,
}

/// A consistent list: as new as the moment of the request.
#[derive(Debug, Clone, PartialEq)]
pub struct PodList {
    /// The pods.
    pub items: Vec<Value>,
    /// The version of the collection that the list shows: a watch may start here.
    pub resource_version: String,
}

impl PodManager {
    /// A manager for a namespace; it knows of no pod yet. [`KubernetesHook::pods`](crate::KubernetesHook::pods) makes one that shares what
    /// the hook has seen.
    pub fn new(requests: Requests, namespace: impl Into<String>) -> Self {
        Self::sharing(requests, namespace.into(), SeenPods::default())
    }

    pub(crate) fn sharing(requests: Requests, namespace: String, seen: SeenPods) -> Self {
        Self { requests, namespace, retry: ReadRetry::default(), seen, in_doubt: InDoubt::default() }
    }

    /// The same manager with another read retry (see [`read_pod`](Self::read_pod)).
    #[must_use]
    pub fn with_read_retry(mut self, retry: ReadRetry) -> Self {
        self.retry = retry;
        self
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The request layer it uses.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Notes a pod that was seen in another way (a watch; the driver notes what it sees), for what is said when it is not found some day.
    pub fn saw(&self, pod: &kpo_core::Pod) {
        self.seen.saw(&self.namespace, pod);
    }

    /// Reads the pod once: no read retry, a 404 is an answer. `None`: there is no pod of that name now.
    ///
    /// # Errors
    /// Any failure but a 404.
    pub async fn get(&self, name: &str, call: Call) -> Result<Option<Value>, RequestError> {
        match self.requests.send(&ApiRequest::get(&self.namespace, "pods", name), call).await {
            Ok(pod) => {
                self.seen.remember(&self.namespace, &pod);
                Ok(Some(pod))
            }
            Err(error) if error.failure.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists the pods that a label selector matches, in pages, as one consistent list. An empty selector matches all.
    ///
    /// ```no_run
    /// # async fn example(hook: kpo::KubernetesHook) -> Result<(), Box<dyn std::error::Error>> {
    /// use kpo::request::Call;
    /// let list = hook.pods("batch").list("kpo.rs/task=nightly", Call::forever()).await?;
    /// println!("{} pods at version {}", list.items.len(), list.resource_version);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A page that cannot be had. A continuation that has expired (410) is no error: the list is begun anew.
    pub async fn list(&self, label_selector: &str, call: Call) -> Result<PodList, RequestError> {
        let mut request = ApiRequest::list(&self.namespace, "pods");
        if !label_selector.is_empty() {
            request = request.query("labelSelector", label_selector);
        }
        self.list_pages(&request, call).await
    }

    async fn list_pages(&self, request: &ApiRequest, call: Call) -> Result<PodList, RequestError> {
        let first = request.clone().query("limit", PAGE.to_string());
        let (mut items, mut page) = (Vec::new(), first.clone());
        loop {
            let mut list = match self.requests.send(&page, call).await {
                Ok(list) => list,
                // Compaction overtook the pages: once more, in one piece.
                Err(error) if error.failure.is_gone() && !items.is_empty() => {
                    items.clear();
                    page = request.clone();
                    continue;
                }
                Err(error) => return Err(error),
            };
            items.extend(taken_items(&mut list));
            match list["metadata"]["continue"].as_str() {
                Some(token) if !token.is_empty() => page = first.clone().query("continue", token),
                _ => return Ok(PodList { items, resource_version: text(&list["metadata"]["resourceVersion"]) }),
            }
        }
    }

    /// Lists the events about one pod: those that name its UID, and those of its name that name none (the taint manager's). One request, at
    /// most 500 events. They are explanations, never proof (TTL of an hour, dropped under load).
    ///
    /// # Errors
    /// As any request; a caller tolerates a 403.
    pub async fn list_events(&self, name: &str, uid: &str, call: Call) -> Result<Vec<Value>, RequestError> {
        let mut events = self.list_events_of_name(name, call).await?;
        events.retain(|event| {
            event["involvedObject"]["uid"].as_str().is_none_or(|named| named.is_empty() || named == uid)
        });
        Ok(events)
    }

    /// Lists the events about all pods that had that name. One request, at most 500 events.
    ///
    /// # Errors
    /// As any request; a caller tolerates a 403.
    pub async fn list_events_of_name(&self, name: &str, call: Call) -> Result<Vec<Value>, RequestError> {
        self.events_where(&format!("involvedObject.kind=Pod,involvedObject.name={name}"), call).await
    }

    async fn events_where(&self, field_selector: &str, call: Call) -> Result<Vec<Value>, RequestError> {
        let request = ApiRequest::list(&self.namespace, "events")
            .query("fieldSelector", field_selector)
            .query("limit", PAGE.to_string());
        self.requests.send(&request, call).await.map(|mut list| taken_items(&mut list))
    }
}

/// The objects of a list, taken out of it.
fn taken_items(list: &mut Value) -> Vec<Value> {
    match list.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
