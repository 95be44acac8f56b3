//! The task of a scenario: a pod template in a few words, and the command line's flags.

use crate::text::{Mistake, Statement, Word};
use kpo::body::Template;
use kpo::manifest::{Manifest, Request, Source, manifest};
use kpo::result::{self, Plan, SidecarOptions};
use kpo_core::spec::{ExitZeroAfterTerm, Naming, OnUnsignedDelete, RerunPolicy};
use kpo_core::{OnFinish, ResultBy, Spec};
use serde_json::{Value, json};
use std::time::Duration;

/// A task to be run.
#[derive(Clone, Debug)]
pub struct TaskPart {
    /// Identity, policies, clocks.
    pub spec: Spec,
    /// The template.
    pub template: Template,
    /// How its result is handed over. `None`: it has none.
    pub plan: Option<Plan>,
    /// Whether it is seen by a watch that it shares with others, selected by label, instead of one of its own by name.
    pub beside_others: bool,
    /// With whose token kpo asks. `None`: the admin's.
    pub user: Option<String>,
}

/// The nonce of all tasks: the same file gives the same backoffs.
pub(crate) const NONCE: &str = "5ce7a210";

const CONTAINER: [&str; 6] = ["image=", "cpu=", "memory=", "ephemeral-storage=", "env=", "mount="];
const POD: [&str; 6] = ["grace=", "deadline=", "priority-class=", "node=", "gate=", "volume="];
const WORDS: [&str; 7] = ["init", "sidecar", "main", "fixed-name", "no-gates", "beside-others", "as="];

/// What is being put together.
struct Draft {
    pod: Value,
    /// Where `key=value` about a container goes: list and index.
    current: (&'static str, usize),
    spec: Spec,
    undisturbed: bool,
    beside_others: bool,
    user: Option<String>,
    set: Vec<String>,
}

/// Reads `task NAME …`.
pub(crate) fn task(statement: &mut Statement) -> Result<TaskPart, Mistake> {
    let name = statement.next("the task's name")?;
    let mut draft = Draft {
        pod: json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": [own()]}}),
        current: ("containers", 0),
        spec: Spec::minimal(&name.text, "default", NONCE),
        undisturbed: true,
        beside_others: false,
        user: None,
        set: Vec::new(),
    };
    while statement.peek().is_some() {
        let word = statement.next("an option")?;
        if let Some(user) = word.text.strip_prefix("as=") {
            draft.user = Some(user.to_owned());
        } else if let Some(flag) = word.text.strip_prefix("--") {
            draft.flag(flag, &word)?;
        } else if let Some((key, value)) = word.pair() {
            draft.option(key, value, &word)?;
        } else {
            draft.word(&word, statement)?;
        }
    }
    draft.finish(&name)
}

fn own() -> Value {
    json!({"name": "base", "image": "busybox"})
}

impl Draft {
    fn word(&mut self, word: &Word, statement: &mut Statement) -> Result<(), Mistake> {
        let (list, mut container) = match word.text.as_str() {
            "init" => ("initContainers", json!({})),
            "sidecar" => ("initContainers", json!({"restartPolicy": "Always"})),
            "main" => ("containers", json!({})),
            "fixed-name" => {
                self.spec.naming = Naming::Fixed;
                return Ok(());
            }
            "no-gates" => {
                self.spec.gates = false;
                return Ok(());
            }
            "beside-others" => {
                self.beside_others = true;
                return Ok(());
            }
            _ => return Err(word.unknown(&[&WORDS[..], &CONTAINER[..], &POD[..], &["--FLAG"]].concat())),
        };
        container["name"] = statement.next("the container's name")?.text.into();
        container["image"] = "busybox".into();
        let spec = &mut self.pod["spec"];
        if !spec[list].is_array() {
            spec[list] = json!([]);
        }
        let containers = spec[list].as_array_mut().expect("made a list above");
        containers.push(container);
        self.current = (list, containers.len() - 1);
        Ok(())
    }

    fn option(&mut self, key: &str, value: &str, word: &Word) -> Result<(), Mistake> {
        let (list, index) = self.current;
        let spec = &mut self.pod["spec"];
        let seconds = || {
            word.pair()
                .and_then(|(_, value)| value.parse::<u32>().ok())
                .ok_or_else(|| word.mistake("write it in seconds"))
        };
        match key {
            "grace" => spec["terminationGracePeriodSeconds"] = seconds()?.into(),
            "deadline" => spec["activeDeadlineSeconds"] = seconds()?.into(),
            "priority-class" => spec["priorityClassName"] = value.into(),
            "node" => spec["nodeSelector"] = json!({"kubernetes.io/hostname": value}),
            "gate" => spec["schedulingGates"] = json!([{"name": value}]),
            "volume" => spec["volumes"] = volume(value, word)?,
            "image" => spec[list][index]["image"] = value.into(),
            "cpu" | "memory" | "ephemeral-storage" => {
                spec[list][index]["resources"]["requests"][key] = value.into();
            }
            "env" => return Err(word.mistake("write env as --env=NAME=VALUE")),
            "mount" => {
                let (volume, path) = value.split_once(':').ok_or_else(|| word.mistake("write mount=VOLUME:PATH"))?;
                spec[list][index]["volumeMounts"] = json!([{"name": volume, "mountPath": path}]);
            }
            _ => return Err(word.unknown(&[&CONTAINER[..], &POD[..]].concat())),
        }
        Ok(())
    }

    /// The command line's flags, by their names.
    fn flag(&mut self, flag: &str, word: &Word) -> Result<(), Mistake> {
        let (name, value) = flag.split_once('=').map_or((flag, ""), |(name, value)| (name, value));
        let spec = &mut self.spec;
        match name {
            "rerun" => spec.rerun.policy = policy(value, word)?,
            "rerun-never-started" => spec.rerun.never_started = number(value, word)?,
            "rerun-started" => spec.rerun.started = number(value, word)?,
            "retries" => spec.rerun.retries = number(value, word)?,
            "on-unsigned-delete" => spec.on_unsigned_delete = unsigned(value, word)?,
            "exit-zero-after-term" => spec.exit_zero_after_term = exit_zero(value, word)?,
            "replace-unreachable-after" => spec.replace_unreachable_after = span(value, word)?,
            "queue-timeout" => spec.clocks.queue = span(value, word)?,
            "schedule-timeout" => spec.clocks.schedule = span(value, word)?,
            "start-timeout" => spec.clocks.start = span(value, word)?,
            "timeout" => spec.clocks.total = span(value, word)?,
            "fail-fast-images" => spec.fail_fast_images = true,
            "result" => drop(spec.result.get_or_insert(ResultBy::Sidecar)),
            "results" => spec.result = Some(results(value, word)?),
            "on-finish" => spec.on_finish = on_finish(value, word)?,
            "protect" => spec.protect = true,
            "namespace" => spec.namespace = value.to_owned(),
            "disturb" => self.undisturbed = value != "allow",
            "set" => self.set.push(value.to_owned()),
            _ => {
                return Err(word.mistake(format!(
                    "--{name} is no flag of a scenario's task; those are the policy flags of `kpo run`"
                )));
            }
        }
        Ok(())
    }

    fn finish(mut self, name: &Word) -> Result<TaskPart, Mistake> {
        let mut manifest = self.manifest().map_err(|error| name.mistake(format!("the task's pod is none: {error}")))?;
        self.spec.template = manifest.template();
        let plan = self.spec.result.map(|by| add_result(by, &mut manifest));
        let plan = plan.transpose().map_err(|error| name.mistake(error.to_string()))?;
        let template =
            Template::new(manifest.pod, self.undisturbed && self.spec.rerun.policy != RerunPolicy::Idempotent);
        let template = template.map_err(|error| name.mistake(error.to_string()))?;
        Ok(TaskPart { spec: self.spec, template, plan, beside_others: self.beside_others, user: self.user })
    }

    fn manifest(&self) -> Result<Manifest, kpo::manifest::ManifestError> {
        let file = Source { name: "the task".to_owned(), text: self.pod.to_string() };
        let name = Some(self.spec.task.clone());
        manifest(Request { file: Some(file), name, set: self.set.clone(), ..Request::default() })
    }
}

/// Gives the pod a way out for its result, as the command line does.
fn add_result(by: ResultBy, manifest: &mut Manifest) -> Result<Plan, result::ManifestError> {
    let (pod, own) = (&mut manifest.pod, &manifest.container);
    let options = SidecarOptions::new("busybox");
    match by {
        ResultBy::Sidecar => result::add_sidecar(pod, own, &options),
        ResultBy::Exec => result::add_waiter(pod, own, &options),
        ResultBy::Message => result::add_message(pod, own, result::DEFAULT_PATH),
    }
}

/// `volume=data:5Mi`: an emptyDir with a limit; `volume=data`: without.
fn volume(text: &str, word: &Word) -> Result<Value, Mistake> {
    match text.split_once(':') {
        Some((name, limit)) if !limit.is_empty() => Ok(json!([{"name": name, "emptyDir": {"sizeLimit": limit}}])),
        None if !text.is_empty() => Ok(json!([{"name": text, "emptyDir": {}}])),
        _ => Err(word.mistake("write volume=NAME or volume=NAME:LIMIT")),
    }
}

fn number(text: &str, word: &Word) -> Result<u32, Mistake> {
    text.parse().map_err(|_| word.mistake(format!("{text:?} is no whole number")))
}

/// A span, or `none`.
fn span(text: &str, word: &Word) -> Result<Option<Duration>, Mistake> {
    if text == "none" {
        return Ok(None);
    }
    let span = crate::text::duration(text);
    span.map(Some).ok_or_else(|| word.mistake(format!("{text:?} is no span; write one as 90s, 10m, 1h30m or none")))
}

fn choose<T: Copy>(text: &str, word: &Word, known: &[(&str, T)]) -> Result<T, Mistake> {
    let found = known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    found.ok_or_else(|| word.mistake(format!("{text:?} is none of: {}", names.join(", "))))
}

fn policy(text: &str, word: &Word) -> Result<RerunPolicy, Mistake> {
    use RerunPolicy::{Idempotent, IfNotStarted, Never, UntilCommit};
    let known =
        [("never", Never), ("if-not-started", IfNotStarted), ("until-commit", UntilCommit), ("idempotent", Idempotent)];
    choose(text, word, &known)
}

fn unsigned(text: &str, word: &Word) -> Result<OnUnsignedDelete, Mistake> {
    choose(text, word, &[("end", OnUnsignedDelete::End), ("recreate", OnUnsignedDelete::Recreate)])
}

fn results(text: &str, word: &Word) -> Result<ResultBy, Mistake> {
    choose(text, word, &[("sidecar", ResultBy::Sidecar), ("exec", ResultBy::Exec), ("message", ResultBy::Message)])
}

fn exit_zero(text: &str, word: &Word) -> Result<ExitZeroAfterTerm, Mistake> {
    choose(text, word, &[("success", ExitZeroAfterTerm::Success), ("disrupted", ExitZeroAfterTerm::Disrupted)])
}

fn on_finish(text: &str, word: &Word) -> Result<OnFinish, Mistake> {
    if let Some(lifetime) = text.strip_prefix("keep-failed=") {
        return Ok(OnFinish::Failed { lifetime: span(lifetime, word)? });
    }
    let known =
        [("delete", OnFinish::None), ("keep", OnFinish::All), ("keep-failed", OnFinish::Failed { lifetime: None })];
    choose(text, word, &known)
}
