//! A namespace of a body's own: what it makes, what it waits for, and what is shown of it when the body fails.

use crate::Error;
use crate::account::Account;
use crate::container::container;
use crate::target::Target;
use crate::undo::Undo;
use http::{Method, Request};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a condition may take to come true on a cluster that is well.
const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The label by which a namespace has a level of Pod Security.
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

pub(crate) struct Namespace<'a> {
    pub(crate) target: &'a Target,
    pub(crate) name: String,
    /// The one case of the body that is to be played; none: all.
    pub(crate) only: Option<String>,
    /// As whom kpo runs; none, on the lab: as who has the target's kubeconfig.
    pub(crate) account: Option<Account>,
    /// What is to be taken back ([`Undo`]).
    pub(crate) undo: RefCell<Vec<Undo>>,
}

impl<'a> Namespace<'a> {
    /// One that demands of its pods what strict clusters do: Pod Security "restricted", and limits ([`container`] has both). In it kpo
    /// has the smallest Roles, where there are any.
    pub(crate) async fn create(target: &'a Target, body: &str) -> Result<Self, Error> {
        let name = format!("kpo-{}-{:x}", body.replace('_', "-"), std::process::id());
        let namespace = Self::make(target, &name, json!({ENFORCE: "restricted"})).await?;
        // So much that none is ever full.
        namespace.quota("limits", json!({"limits.cpu": "1k", "limits.memory": "1Ti"})).await?;
        if target.is_lab() {
            return Ok(namespace);
        }
        let account = Some(namespace.own_account().await?);
        Ok(Self { account, ..namespace })
    }

    /// What leads kpo to the cluster.
    pub(crate) fn kubeconfig(&self) -> &Path {
        self.account.as_ref().map_or(&self.target.kubeconfig, Account::path)
    }

    /// One that demands nothing, for what is about something else.
    pub(crate) async fn named(target: &'a Target, name: &str) -> Result<Self, Error> {
        Self::make(target, name, json!({})).await
    }

    /// Makes it, and waits for what each namespace gets: its default service account.
    async fn make(target: &'a Target, name: &str, labels: Value) -> Result<Self, Error> {
        let namespace = Self { target, name: name.to_owned(), only: None, account: None, undo: RefCell::default() };
        namespace.post("/api/v1/namespaces", &json!({"metadata": {"name": name, "labels": labels}})).await?;
        namespace.afterwards(Undo::Delete(format!("/api/v1/namespaces/{name}")));
        let account = namespace.path("serviceaccounts/default");
        namespace.wait("the default service account", || async { Ok(namespace.get(&account).await.is_ok()) }).await?;
        Ok(namespace)
    }

    /// Makes a quota. Until it is counted, everything is refused with another message.
    pub(crate) async fn quota(&self, name: &str, hard: Value) -> Result<(), Error> {
        let quota = json!({"metadata": {"name": name}, "spec": {"hard": hard}});
        self.post(&self.path("resourcequotas"), &quota).await?;
        let path = self.path(&format!("resourcequotas/{name}"));
        self.wait("the quota is counted", || async { Ok(self.get(&path).await?["status"]["hard"].is_object()) }).await
    }

    /// Has Pod Security demand nothing any more: each of its levels but "privileged" forbids `hostPath`. The quota still demands limits.
    pub(crate) async fn admit_host_paths(&self) -> Result<(), Error> {
        let labels = json!({"metadata": {"labels": {ENFORCE: Value::Null}}});
        self.merge(&format!("/api/v1/namespaces/{}", self.name), &labels).await?;
        let volume = json!({"name": "tried", "hostPath": {"path": "/"}});
        let spec = json!({"containers": [container("base", "true")], "volumes": [volume]});
        let pod = json!({"metadata": {"name": "tried"}, "spec": spec});
        // The API server hears of a label by and by.
        let path = self.path("pods?dryRun=All");
        self.wait("a hostPath is admitted", || async { Ok(self.post(&path, &pod).await.is_ok()) }).await
    }

    /// A path within it.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.name)
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Value, Error> {
        Ok(self.target.client.request::<Value>(request).await?)
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Error> {
        self.send(Request::get(path).body(Vec::new())?).await
    }

    /// What the node still holds of a container's log.
    pub(crate) async fn log(&self, pod: &str, container: &str) -> Result<String, Error> {
        let path = self.path(&format!("pods/{pod}/log?container={container}"));
        Ok(self.target.client.request_text(Request::get(path).body(Vec::new())?).await?)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.send(Request::post(path).header("content-type", "application/json").body(serde_json::to_vec(body)?)?).await
    }

    pub(crate) async fn merge(&self, path: &str, body: &Value) -> Result<Value, Error> {
        self.patch("merge", path, body).await
    }

    /// `merge` or `strategic-merge`: in the latter an entry of a list is found by its key, and the others stay.
    pub(crate) async fn patch(&self, how: &str, path: &str, body: &Value) -> Result<Value, Error> {
        let request = Request::patch(path).header("content-type", format!("application/{how}-patch+json"));
        self.send(request.body(serde_json::to_vec(body)?)?).await
    }

    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Result<Value, Error> {
        let request = Request::builder().method(Method::DELETE).uri(path).header("content-type", "application/json");
        self.send(request.body(serde_json::to_vec(options)?)?).await
    }

    /// Its pods, by name.
    pub(crate) async fn pods(&self) -> Result<Vec<Value>, Error> {
        let list = self.get(&self.path("pods")).await?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Waits until a pod is as wanted, and gives it.
    pub(crate) async fn pod(&self, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value, Error> {
        let path = self.path(&format!("pods/{name}"));
        self.wait(&format!("{name} {what}"), || async { Ok(self.get(&path).await.is_ok_and(|pod| is_so(&pod))) })
            .await?;
        self.get(&path).await
    }

    /// Waits until no pod of it is left.
    pub(crate) async fn is_empty(&self) -> Result<(), Error> {
        self.wait("no pod is left", || async { Ok(self.pods().await?.is_empty()) }).await
    }

    /// Waits for a condition.
    pub(crate) async fn wait<F>(&self, what: &str, is_so: impl Fn() -> F) -> Result<(), Error>
    where
        F: Future<Output = Result<bool, Error>>,
    {
        self.wait_for(PATIENCE, what, is_so).await
    }

    /// Waits for a condition that may take longer, or less.
    pub(crate) async fn wait_for<F>(&self, patience: Duration, what: &str, is_so: impl Fn() -> F) -> Result<(), Error>
    where
        F: Future<Output = Result<bool, Error>>,
    {
        let until = Instant::now() + patience;
        while !is_so().await? {
            if Instant::now() > until {
                return Err(format!("waited {} s in vain: {what}", patience.as_secs()).into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Deletes what pods are left, and waits until they are gone.
    pub(crate) async fn remove_leftovers(&self) -> Result<(), Error> {
        self.delete(&self.path("pods"), &json!({"gracePeriodSeconds": 0})).await?;
        self.is_empty().await
    }

    /// Its pods and events and the nodes, for a person who looks for what went wrong.
    pub(crate) async fn shown(&self) -> String {
        let mut shown = self.nodes_shown().await;
        for pod in self.pods().await.unwrap_or_default() {
            let (metadata, status) = (&pod["metadata"], &pod["status"]);
            shown +=
                &format!("  pod {}: deleted {}, status {status}\n", metadata["name"], metadata["deletionTimestamp"]);
        }
        let events = self.get(&self.path("events")).await.unwrap_or_default();
        for event in events["items"].as_array().into_iter().flatten() {
            let (object, reason) = (&event["involvedObject"]["name"], &event["reason"]);
            shown += &format!("  event {object} {reason}: {}\n", event["message"]);
        }
        shown
    }

    async fn nodes_shown(&self) -> String {
        let nodes = self.get("/api/v1/nodes").await.unwrap_or_default();
        let line = |node: &Value| {
            let (spec, conditions) = (&node["spec"], node["status"]["conditions"].as_array());
            let is_told = |one: &&Value| one["type"] == "Ready" || one["status"] != "False";
            let told: Vec<String> = conditions.into_iter().flatten().filter(is_told).map(condition).collect();
            let (name, cordoned) = (&node["metadata"]["name"], &spec["unschedulable"]);
            format!("  node {name}: {}, taints {}, unschedulable {cordoned}\n", told.join(", "), spec["taints"])
        };
        nodes["items"].as_array().into_iter().flatten().map(line).collect()
    }
}

fn condition(one: &Value) -> String {
    let text = |key: &str| one[key].as_str().unwrap_or_default();
    format!("{} {} ({})", text("type"), text("status"), text("reason"))
}
