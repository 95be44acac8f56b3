//! The ledger of side effects: each start of a task's program appends a line to a file on the node. It is what judges how often something ran;
//! what kpo says of it is not asked.

use crate::Error;
use crate::cluster::Namespace;
use crate::container;
use serde_json::json;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where the folder is mounted.
const MOUNT: &str = "/ledger";
/// What a script begins with: one short append, which no other can come between.
const NOTE: &str = "echo \"$KPO_TASK $KPO_ATTEMPT $LEDGER_POD $LEDGER_UID\" >> /ledger/starts; ";

/// A file on the node, of one body or of one case of it. The node has to share this machine's folders, as the lab's and the own cluster's do.
pub(crate) struct Ledger {
    folder: PathBuf,
}

/// A start of a task's program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) task: String,
    pub(crate) attempt: u32,
    pub(crate) pod: String,
    pub(crate) uid: String,
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // What is left of it is a small file.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Ledger {
    /// An empty one, whose folder is the node's: from here on the namespace admits that.
    ///
    /// # Errors
    /// [`crate::components::NotHere`] where the node is not this machine's.
    pub(crate) async fn open(namespace: &Namespace<'_>) -> Result<Self, Error> {
        namespace.is_own_cluster()?;
        namespace.admit_host_paths().await?;
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("{}-ledger-{number}", namespace.name));
        std::fs::create_dir_all(&folder)?;
        // The tasks' user is not ours.
        std::fs::set_permissions(&folder, Permissions::from_mode(0o777))?;
        Ok(Self { folder })
    }

    /// Arguments of `run` (or of a manifest made with `--set`) for a shell script that notes its start. The container is the first.
    pub(crate) fn run(&self, task: &str, flags: &[&str], script: &str) -> Vec<String> {
        let own = self.flags();
        let flags: Vec<&str> = own.iter().map(String::as_str).chain(flags.iter().copied()).collect();
        container::run(task, &flags, &format!("{NOTE}{script}"))
    }

    fn flags(&self) -> Vec<String> {
        let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
        let volume = json!({"name": "ledger", "hostPath": {"path": self.folder, "type": "Directory"}});
        let name = json!({"name": "LEDGER_POD", "valueFrom": field("metadata.name")});
        let uid = json!({"name": "LEDGER_UID", "valueFrom": field("metadata.uid")});
        let set = [
            format!("spec.volumes[0]={volume}"),
            format!("spec.containers[0].volumeMounts[0]={}", json!({"name": "ledger", "mountPath": MOUNT})),
            format!("spec.containers[0].env[0]={name}"),
            format!("spec.containers[0].env[1]={uid}"),
        ];
        set.into_iter().flat_map(|value| ["--set".to_owned(), value]).collect()
    }

    /// Makes a file beside it, for which scripts can wait.
    pub(crate) fn allow(&self, word: &str) -> Result<(), Error> {
        Ok(std::fs::write(self.folder.join(word), "")?)
    }

    /// Whether a script has made a file of this name beside it.
    pub(crate) fn has(&self, word: &str) -> bool {
        self.folder.join(word).exists()
    }

    /// Every start so far, in the order in which they were.
    pub(crate) fn starts(&self) -> Result<Vec<Start>, Error> {
        match std::fs::read_to_string(self.folder.join("starts")) {
            Ok(text) => text.lines().map(start).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    /// Fails unless the task's attempts that started are just these, each of them once.
    pub(crate) fn shows(&self, task: &str, attempts: &[u32]) -> Result<(), Error> {
        let starts: Vec<Start> = self.starts()?.into_iter().filter(|start| start.task == task).collect();
        let is: Vec<u32> = starts.iter().map(|start| start.attempt).collect();
        if is == attempts {
            Ok(())
        } else {
            Err(format!("expected starts {attempts:?}, the node saw {starts:?}").into())
        }
    }
}

fn start(line: &str) -> Result<Start, Error> {
    let [task, attempt, pod, uid] = line.split(' ').collect::<Vec<_>>()[..] else {
        return Err(format!("no line of the ledger: {line:?}").into());
    };
    Ok(Start { task: task.to_owned(), attempt: attempt.parse()?, pod: pod.to_owned(), uid: uid.to_owned() })
}
