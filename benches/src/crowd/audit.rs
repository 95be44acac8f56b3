//! The API server's audit log: who asked how often, and when what was written.

use crate::Error;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The part of the log behind a moment.
pub(super) struct Audit {
    path: PathBuf,
    from: u64,
}

/// What was heard of a namespace.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Requests, by user agent; a controller's by its user.
    pub(super) by_agent: BTreeMap<String, u64>,
    /// Pods created.
    pub(super) pods: u64,
    /// Pods bound to a node.
    pub(super) bound: u64,
    /// Pods deleted by the scheduler, which may ask twice for one.
    pub(super) preempted: BTreeSet<String>,
    /// When the last status of a task's pod came in that its node wrote: nanoseconds since the epoch.
    pub(super) succeeded: BTreeMap<String, i64>,
    /// When the last status of a Job came in.
    pub(super) completed: BTreeMap<String, i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    verb: String,
    #[serde(default)]
    user_agent: String,
    user: User,
    object_ref: Option<Reference>,
    response_status: Option<Code>,
    request_received_timestamp: String,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Reference {
    namespace: String,
    name: String,
    resource: String,
    subresource: String,
}

#[derive(Deserialize)]
struct Code {
    code: u16,
}

impl Audit {
    pub(super) fn from_now(folder: &Path) -> Result<Self, Error> {
        let path = folder.join("logs/audit.log");
        let from = std::fs::metadata(&path)?.len();
        Ok(Self { path, from })
    }

    /// All that it says of a namespace so far.
    pub(super) fn heard(&self, namespace: &str) -> Result<Heard, Error> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut heard = Heard::default();
        // The last line may be under way.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        for line in whole.lines().map(serde_json::from_str::<Line>) {
            let line = line?;
            let Some(object) = line.object_ref.as_ref().filter(|object| object.namespace == namespace) else {
                continue;
            };
            heard.note(&line, object)?;
        }
        Ok(heard)
    }
}

impl Heard {
    fn note(&mut self, line: &Line, object: &Reference) -> Result<(), Error> {
        let agent = line.user.username.strip_prefix("system:serviceaccount:kube-system:").unwrap_or(&line.user_agent);
        *self.by_agent.entry(agent.to_owned()).or_default() += 1;
        let is_done = line.response_status.as_ref().is_some_and(|status| status.code < 300);
        let at =
            || Ok::<_, Error>(kpo_core::Time::parse(&line.request_received_timestamp).ok_or("a time that is none")?.0);
        match (line.verb.as_str(), object.resource.as_str(), object.subresource.as_str()) {
            _ if !is_done => {}
            ("create", "pods", "") => self.pods += 1,
            ("create", "pods", "binding") => self.bound += 1,
            ("delete", "pods", "") if line.user.username == "system:kube-scheduler" => {
                self.preempted.insert(object.name.clone());
            }
            ("patch", "pods", "status") if line.user_agent.starts_with("kubelet") => {
                self.succeeded.insert(task_of(&object.name), at()?);
            }
            ("update" | "patch", "jobs", "status") => {
                self.completed.insert(object.name.clone(), at()?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whose pod it is: the name without what an attempt adds to it.
fn task_of(pod: &str) -> String {
    let mut parts = pod.splitn(3, '-');
    match (parts.next(), parts.next()) {
        (Some(first), Some(number)) => format!("{first}-{number}"),
        _ => pod.to_owned(),
    }
}
