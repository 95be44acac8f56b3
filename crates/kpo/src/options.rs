//! How a task is to be run: what every way in (command line, Python) lets its user say, with the same defaults, and the task made of it.
//!
//! ```
//! use kpo::manifest::{Request, manifest};
//! use kpo::options::TaskOptions;
//! use kpo::RerunPolicy;
//!
//! let manifest = manifest(Request { image: Some("busybox".into()), ..Request::default() })?;
//! let mut options = TaskOptions::default();
//! options.rerun.policy = RerunPolicy::Idempotent;
//! let request = options.task(&manifest, "nightly", "batch")?;
//! assert_eq!(request.spec.rerun.never_started, 8);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::body::{PackError, Template};
use crate::driver::TaskRequest;
use crate::identity;
use crate::manifest::{Manifest, name};
use crate::result::{self, Plan, SidecarOptions};
use kpo_core::spec::{ExitZeroAfterTerm, Naming};
use kpo_core::{Clocks, OnFinish, OnUnsignedDelete, Rerun, RerunPolicy, ResultBy, Spec};
use serde_json::{Map, Value};
use std::time::Duration;

/// How a task is to be run. Default: the command line's.
#[derive(Clone, Debug, Default)]
pub struct TaskOptions {
    /// When it may run again, and how often.
    pub rerun: Rerun,
    /// What a deletion that nobody signed means.
    pub on_unsigned_delete: OnUnsignedDelete,
    /// What an exit 0 after somebody else's deletion request means.
    pub exit_zero_after_term: ExitZeroAfterTerm,
    /// Whether init containers may run again: that one of them had started is then no start of the task.
    pub init_may_rerun: bool,
    /// How long a pod whose node does not answer is waited for before it is replaced, at the risk that it still runs. `None`: for ever.
    pub replace_unreachable_after: Option<Duration>,
    /// Whether autoscalers are asked not to move its pods. `None`: unless it is idempotent.
    pub undisturbed: Option<bool>,
    /// Its clocks, but for the total one.
    pub clocks: Clocks,
    /// The total clock. `None`: the manifest's (a Job's). `Some(None)`: no limit.
    pub total: Option<Option<Duration>>,
    /// Whether image errors that cannot heal end the task at once.
    pub fail_fast_images: bool,
    /// The result that is wanted. `None`: none.
    pub result: Option<ResultOptions>,
    /// What is kept when it has finished.
    pub on_finish: OnFinish,
    /// Whether its pods carry kpo's finalizer.
    pub protect: bool,
    /// How its pods are named.
    pub naming: Naming,
}

/// A result, and its way out of the pod.
#[derive(Clone, Debug)]
pub struct ResultOptions {
    /// The file that the program writes.
    pub path: String,
    /// The way out.
    pub by: ResultBy,
    /// The sidecar's image. Demanded by [`ResultBy::Sidecar`] and [`ResultBy::Exec`], and of no use to the third.
    pub image: Option<String>,
    /// What the sidecar asks for and may use at most. `None`: [`SidecarOptions`]' default.
    pub resources: Option<Map<String, Value>>,
    /// The sidecar's whole `securityContext`. `None`: one that Pod Security "restricted" admits.
    pub security_context: Option<Value>,
    /// The JSON value that a missing or empty file stands for, by [`ResultBy::Sidecar`] and [`ResultBy::Exec`]. `None`: its absence is a
    /// failure.
    pub absent: Option<String>,
}

impl Default for ResultOptions {
    /// By sidecar, from upstream's path; its image has no default.
    fn default() -> Self {
        let path = result::DEFAULT_PATH.to_owned();
        Self { path, by: ResultBy::Sidecar, image: None, resources: None, security_context: None, absent: None }
    }
}

/// Options that make no task.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// A second pod is asked for and forbidden.
    #[error(
        "a pod whose node does not answer is to be replaced, which makes a second pod, and reruns are forbidden: leave one of them out"
    )]
    ReplaceButNever,
    /// A pod that stays holds the one name that all attempts would have.
    #[error(
        "the pod's name is fixed, and a pod that is kept or protected holds it: no other attempt could be made; let the name vary, \
         or forbid reruns"
    )]
    FixedButHeld,
    /// The result's sidecar has no image.
    #[error("the result needs an image for the sidecar that hands it over")]
    NoResultImage,
    /// The result finds no way out of that pod.
    #[error(transparent)]
    Result(#[from] result::ManifestError),
    /// It cannot travel with its pods, so that any machine could go on with it.
    #[error(transparent)]
    TooLarge(#[from] PackError),
}

impl TaskOptions {
    /// The task: what decisions need of manifest and options, and the template with a way out for its result.
    ///
    /// # Errors
    /// [`OptionsError`].
    pub fn task(&self, manifest: &Manifest, task: &str, namespace: &str) -> Result<TaskRequest, OptionsError> {
        let policy = self.rerun.policy;
        if self.replace_unreachable_after.is_some() && policy == RerunPolicy::Never {
            return Err(OptionsError::ReplaceButNever);
        }
        let is_held = self.protect || self.on_finish != OnFinish::None;
        if self.naming == Naming::Fixed && is_held && policy != RerunPolicy::Never {
            return Err(OptionsError::FixedButHeld);
        }
        let mut pod = manifest.pod.clone();
        let plan = self.result.as_ref().map(|result| result.add(&mut pod, &manifest.container)).transpose()?;
        let undisturbed = self.undisturbed.unwrap_or(policy != RerunPolicy::Idempotent);
        let template = Template::new(pod, undisturbed)?;
        let mut spec = self.spec(manifest, task, namespace);
        spec.result = plan.as_ref().map(Plan::by);
        Ok(TaskRequest { spec, template, plan })
    }

    fn spec(&self, manifest: &Manifest, task: &str, namespace: &str) -> Spec {
        let mut spec = Spec::minimal(task, namespace, &identity::nonce());
        spec.template = manifest.template();
        if self.init_may_rerun {
            let init = manifest.pod["spec"]["initContainers"].as_array();
            let is_init = |name: &String| init.into_iter().flatten().any(|container| container["name"] == **name);
            spec.template.counted.retain(|name| !is_init(name));
        }
        spec.rerun = self.rerun;
        spec.on_unsigned_delete = self.on_unsigned_delete;
        spec.exit_zero_after_term = self.exit_zero_after_term;
        spec.replace_unreachable_after = self.replace_unreachable_after;
        spec.clocks = Clocks { total: self.total.unwrap_or(manifest.total), ..self.clocks };
        spec.fail_fast_images = self.fail_fast_images;
        spec.on_finish = self.on_finish;
        spec.protect = self.protect;
        spec.naming = self.naming;
        spec
    }
}

impl ResultOptions {
    /// Gives the pod a way out for the result.
    fn add(&self, pod: &mut Value, own: &str) -> Result<Plan, OptionsError> {
        let plan = match self.by {
            ResultBy::Sidecar => result::add_sidecar(pod, own, &self.sidecar()?),
            ResultBy::Exec => result::add_waiter(pod, own, &self.sidecar()?),
            ResultBy::Message => result::add_message(pod, own, &self.path),
        };
        Ok(plan?)
    }

    fn sidecar(&self) -> Result<SidecarOptions, OptionsError> {
        let mut options = SidecarOptions::new(self.image.as_deref().ok_or(OptionsError::NoResultImage)?);
        options.path.clone_from(&self.path);
        options.security_context.clone_from(&self.security_context);
        options.absent.clone_from(&self.absent);
        if let Some(resources) = &self.resources {
            options.resources.clone_from(resources);
        }
        Ok(options)
    }
}

impl Manifest {
    /// The task's name: the one that was given; else one that nobody has, after `generateName` or the image.
    pub fn task_name(&self) -> String {
        /// Random characters at the end, as `generateName` has them.
        const RANDOM: usize = 5;
        if let Some(name) = &self.name {
            return name.clone();
        }
        let stem = self.generate_name.clone().unwrap_or_else(|| self.image_name());
        let stem = name::label_of(&stem, name::LONGEST_TASK - RANDOM - 1);
        let stem = if stem.is_empty() { "task" } else { &stem };
        format!("{stem}-{}", &identity::nonce()[..RANDOM])
    }

    /// `busybox` of `docker.io/library/busybox:1.36@sha256:…`.
    fn image_name(&self) -> String {
        let containers = self.pod["spec"]["containers"].as_array();
        let own = containers.into_iter().flatten().find(|container| container["name"] == *self.container);
        let image = own.and_then(|own| own["image"].as_str()).unwrap_or_default();
        let last = image.rsplit('/').next().unwrap_or_default();
        last.split([':', '@']).next().unwrap_or_default().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Request, manifest};

    #[test]
    fn a_pod_that_is_held_bars_reruns_under_a_fixed_name() {
        let pod = manifest(Request { image: Some("busybox".into()), ..Request::default() }).expect("a manifest");
        let fixed = || TaskOptions { naming: Naming::Fixed, ..TaskOptions::default() };
        let refused = |options: TaskOptions| match options.task(&pod, "t", "ns") {
            Err(OptionsError::FixedButHeld) => true,
            other => {
                assert_eq!(other.expect("a task").spec.naming, options.naming);
                false
            }
        };
        assert!(!refused(fixed()));
        assert!(refused(TaskOptions { protect: true, ..fixed() }));
        assert!(refused(TaskOptions { on_finish: OnFinish::All, ..fixed() }));
        assert!(!refused(TaskOptions { protect: true, ..TaskOptions::default() }));
        let mut never = TaskOptions { on_finish: OnFinish::All, ..fixed() };
        never.rerun.policy = RerunPolicy::Never;
        assert!(!refused(never));
    }
}
