//! What a user hands in as a task: a Pod, a PodTemplate, a Job or a CronJob, in YAML or JSON, or an image and a command.
//!
//! [`manifest`] reads it, applies the flags, checks what can be checked without a cluster, and hands back the pod as it was meant:
//! unknown fields are kept, nothing is added that was not asked for. Every error names file, line and column.
//!
//! ```
//! use kpo::manifest::{Request, manifest};
//!
//! let request = Request { image: Some("busybox".into()), args: vec!["echo".into(), "hello".into()], ..Request::default() };
//! let manifest = manifest(request)?;
//! assert_eq!(manifest.container, "base");
//! assert_eq!(manifest.pod["spec"]["containers"][0]["args"][1], "hello");
//! # Ok::<(), kpo::manifest::ManifestError>(())
//! ```

mod check;
mod document;
mod draft;
mod error;
mod kind;
pub mod name;
mod path;

pub use document::{Position, Source};
pub use error::{ManifestError, Place, Problem};
pub use path::PathError;

use draft::Draft;
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// What the user asks for. Default: nothing.
#[derive(Clone, Default)]
pub struct Request {
    /// A manifest. `None`: one is made from `image`.
    pub file: Option<Source>,
    /// The task's name; goes before the manifest's.
    pub name: Option<String>,
    /// The namespace as given by a flag. `None`: the manifest's, else the connection's.
    pub namespace: Option<String>,
    /// The image of the task's own container.
    pub image: Option<String>,
    /// The task's own container (`-c`). `None`: `kubectl.kubernetes.io/default-container`, else `base`, else the first.
    pub container: Option<String>,
    /// Whether `args` is the command (the image's entrypoint is replaced) and not its arguments.
    pub command: bool,
    /// Arguments, or the command, of the task's own container. Empty: as in the manifest, or the image.
    pub args: Vec<String>,
    /// `NAME=VALUE`, for the task's own container.
    pub env: Vec<String>,
    /// `path=value`, the value typed as a YAML scalar; applied last, in order.
    pub set: Vec<String>,
}

/// Env values are never printed.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |list: &[String]| list.iter().map(|item| left_of(item).to_owned()).collect::<Vec<_>>();
        f.debug_struct("Request")
            .field("file", &self.file)
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .field("image", &self.image)
            .field("container", &self.container)
            .field("env", &names(&self.env))
            .field("set", &names(&self.set))
            .finish_non_exhaustive()
    }
}

/// A pod as the user meant it, and what kpo needs to know of it.
#[derive(Clone, PartialEq)]
pub struct Manifest {
    /// The task's name. `None`: none was given.
    pub name: Option<String>,
    /// The beginning of a name that the manifest asks for (`generateName`).
    pub generate_name: Option<String>,
    /// The namespace, by flag or manifest. `None`: the connection's.
    pub namespace: Option<String>,
    /// The pod (`apiVersion`, `kind`, `metadata`, `spec`) as handed in, flags applied. What the server wrote (`uid`, `status`, …) is left out.
    /// `restartPolicy` may be absent: it then is `Never`, to be added on the way out.
    pub pod: Value,
    /// The task's own container.
    pub container: String,
    /// All containers that the manifest names, init containers among them.
    pub counted: Vec<String>,
    /// Seconds between TERM and KILL (`terminationGracePeriodSeconds`), 30 where none is given, as the API server has it.
    pub grace_seconds: u32,
    /// The pod's `activeDeadlineSeconds`. `None`: none.
    pub active_deadline_seconds: Option<u32>,
    /// A Job's `activeDeadlineSeconds`: the total clock. `None`: none.
    pub total: Option<Duration>,
    /// Fields of a Job or CronJob that mean nothing to a task, by path.
    pub unused: Vec<String>,
    /// The path at which a Job or CronJob says that it is suspended: its template is run all the same. `None`: it is not.
    pub suspended: Option<String>,
}

/// The pod may hold env values: it is never printed.
impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manifest")
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .field("container", &self.container)
            .field("counted", &self.counted)
            .finish_non_exhaustive()
    }
}

impl Manifest {
    /// What of it decisions need.
    pub fn template(&self) -> kpo_core::Template {
        kpo_core::Template {
            container: self.container.clone(),
            counted: self.counted.clone(),
            grace_seconds: self.grace_seconds,
            active_deadline_seconds: self.active_deadline_seconds,
            names_its_node: self.pod["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty()),
        }
    }
}

/// Makes a manifest of a request: reads the file, applies the flags, checks the result.
///
/// # Errors
/// [`ManifestError`], with the place and what to do.
pub fn manifest(request: Request) -> Result<Manifest, ManifestError> {
    let mut draft = Draft::new(&request)?;
    draft.apply(&request)?;
    check::finish(&draft, &request)
}

/// What stands left of the first `=`: the part of an assignment that may be shown.
fn left_of(assignment: &str) -> &str {
    assignment.split_once('=').map_or(assignment, |(left, _)| left)
}

#[cfg(test)]
mod tests;
