//! What Python asks for: the options by their names, as JSON, and the task made of them.

use crate::errors::{Error, Kind};
use kpo::driver::TaskRequest;
use kpo::manifest::{self, Manifest, Source, manifest};
use kpo::options::{ResultOptions, TaskOptions};
use kpo_core::spec::{ExitZeroAfterTerm, Naming};
use kpo_core::{Clocks, OnFinish, OnUnsignedDelete, Rerun, RerunPolicy, ResultBy};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::Duration;

/// The command line's flags, under their names. Times are in seconds; `None` is no limit.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    manifest: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
    image: Option<String>,
    container: Option<String>,
    command: bool,
    args: Vec<String>,
    env: Vec<String>,
    set: Vec<String>,
    rerun: RerunPolicy,
    rerun_never_started: u32,
    rerun_started: u32,
    retries: u32,
    on_unsigned_delete: OnUnsignedDelete,
    exit_zero_after_term: ExitZeroAfterTerm,
    init_may_rerun: bool,
    replace_unreachable_after: Option<f64>,
    disturb: Option<Disturb>,
    queue_timeout: Option<f64>,
    schedule_timeout: Option<f64>,
    start_timeout: Option<f64>,
    run_timeout: Option<f64>,
    timeout: Total,
    fail_fast_images: bool,
    result: Option<String>,
    results: ResultBy,
    results_image: Option<String>,
    results_resources: Option<Map<String, Value>>,
    results_security: Option<Value>,
    results_absent: Option<String>,
    on_finish: Finish,
    keep_failed_for: Option<f64>,
    protect: bool,
    fixed_name: bool,
    /// Whose logs are wanted. `None`: all containers'.
    pub(crate) logs: Option<Vec<String>>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Disturb {
    Deny,
    Allow,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Finish {
    Delete,
    Keep,
    KeepFailed,
}

/// The total clock.
#[derive(Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Total {
    Seconds(f64),
    Manifest(FromManifest),
    Unlimited,
}

/// `"manifest"`: the Job's own, else none.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FromManifest {
    Manifest,
}

impl Asked {
    pub(crate) fn parse(json: &str) -> Result<Self, Error> {
        // Which option is wrong is said, and never its value, which may be a secret's.
        serde_json::from_str(json).map_err(|error| {
            let text = error.to_string();
            let what = if text.contains("variant") {
                text.split(" at line").next().unwrap_or_default()
            } else {
                "an option has a value of a wrong type"
            };
            Error::new(Kind::Input, what)
        })
    }

    /// The manifest, with what was asked for applied.
    pub(crate) fn manifest(&self) -> Result<Manifest, Error> {
        let file = self.manifest.clone().map(|text| Source { name: "the pod".to_owned(), text });
        Ok(manifest(manifest::Request {
            file,
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            image: self.image.clone(),
            container: self.container.clone(),
            command: self.command,
            args: self.args.clone(),
            env: self.env.clone(),
            set: self.set.clone(),
        })?)
    }

    /// The task. `namespace`: where neither manifest nor option names one.
    pub(crate) fn task(&self, manifest: &Manifest, namespace: &str) -> Result<TaskRequest, Error> {
        let namespace = manifest.namespace.as_deref().unwrap_or(namespace);
        Ok(self.options()?.task(manifest, &manifest.task_name(), namespace)?)
    }

    fn options(&self) -> Result<TaskOptions, Error> {
        let rerun = Rerun {
            policy: self.rerun,
            never_started: self.rerun_never_started,
            started: self.rerun_started,
            retries: self.retries,
        };
        let total = match self.timeout {
            Total::Seconds(seconds) => Some(limit("timeout", Some(seconds))?),
            Total::Manifest(FromManifest::Manifest) => None,
            Total::Unlimited => Some(None),
        };
        Ok(TaskOptions {
            rerun,
            on_unsigned_delete: self.on_unsigned_delete,
            exit_zero_after_term: self.exit_zero_after_term,
            init_may_rerun: self.init_may_rerun,
            replace_unreachable_after: limit("replace_unreachable_after", self.replace_unreachable_after)?,
            undisturbed: self.disturb.map(|disturb| disturb == Disturb::Deny),
            clocks: self.clocks()?,
            total,
            fail_fast_images: self.fail_fast_images,
            result: self.result(),
            on_finish: self.on_finish()?,
            protect: self.protect,
            naming: if self.fixed_name { Naming::Fixed } else { Naming::Numbered },
        })
    }

    fn clocks(&self) -> Result<Clocks, Error> {
        Ok(Clocks {
            queue: limit("queue_timeout", self.queue_timeout)?,
            schedule: limit("schedule_timeout", self.schedule_timeout)?,
            start: limit("start_timeout", self.start_timeout)?,
            run: limit("run_timeout", self.run_timeout)?,
            total: None,
        })
    }

    fn result(&self) -> Option<ResultOptions> {
        Some(ResultOptions {
            path: self.result.clone()?,
            by: self.results,
            image: self.results_image.clone(),
            resources: self.results_resources.clone(),
            security_context: self.results_security.clone(),
            absent: self.results_absent.clone(),
        })
    }

    fn on_finish(&self) -> Result<OnFinish, Error> {
        let lifetime = limit("keep_failed_for", self.keep_failed_for)?;
        match self.on_finish {
            Finish::KeepFailed => Ok(OnFinish::Failed { lifetime }),
            _ if lifetime.is_some() => {
                Err(Error::new(Kind::Input, "keep_failed_for means something with on_finish=\"keep-failed\" only"))
            }
            Finish::Delete => Ok(OnFinish::None),
            Finish::Keep => Ok(OnFinish::All),
        }
    }
}

/// A span. A clock that has run out before it begins is none that anybody means.
fn limit(name: &str, seconds: Option<f64>) -> Result<Option<Duration>, Error> {
    let Some(seconds) = seconds else { return Ok(None) };
    let span = Duration::try_from_secs_f64(seconds).ok().filter(|span| !span.is_zero());
    let wrong =
        || Error::new(Kind::Input, format!("{name} is {seconds} s: it is a time above 0, or None, which is no limit"));
    span.map(Some).ok_or_else(wrong)
}
