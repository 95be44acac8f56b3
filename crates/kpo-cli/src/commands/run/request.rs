//! From flags and a manifest to a task.

use super::{CliError, Disturb, Manifest, Observer, RerunWhen, RunArgs, Task, TaskRequest, Time, Transport};
use crate::files::read_source;
use crate::render;
use kpo::body::{PackError, Template};
use kpo::identity;
use kpo::manifest::{self, name};
use kpo::result::{self, Plan, SidecarOptions};
use kpo_core::{Command, Output, Rerun, Spec};
use serde_json::Value;

/// The manifest, with the flags applied.
pub(super) fn manifest(args: &RunArgs) -> Result<Manifest, CliError> {
    let what = &args.what;
    let file = what.file.as_ref().or(what.manifest.as_ref()).map(|file| read_source(file)).transpose();
    let file = file.map_err(|error| stray(error, args))?;
    let request = manifest::Request {
        file,
        name: what.name.clone(),
        namespace: args.connection.namespace.clone(),
        image: what.image.clone(),
        container: what.container.clone(),
        command: what.command,
        args: what.args.clone(),
        env: what.env.clone(),
        set: what.set.clone(),
    };
    Ok(manifest::manifest(request)?)
}

/// A file that cannot be read may be a program: `kpo run --image busybox true`.
fn stray(error: CliError, args: &RunArgs) -> CliError {
    match (&args.what.image, &args.what.manifest) {
        (Some(image), Some(word)) => {
            let word = word.display();
            let run = format!("{} run --image {image} -- {word}", render::program());
            error.hint(format!("If {word} is the program to run, put it behind --: {run}"))
        }
        _ => error,
    }
}

/// The task's name: the flag's or the manifest's; else one that nobody has, after `generateName` or the image.
pub(super) fn task_name(args: &RunArgs, manifest: &Manifest) -> String {
    /// Random characters at the end, as `generateName` has them.
    const RANDOM: usize = 5;
    if let Some(name) = args.what.name.as_ref().or(manifest.name.as_ref()) {
        return name.clone();
    }
    let stem = manifest.generate_name.clone().unwrap_or_else(|| image_name(manifest));
    let stem = name::label_of(&stem, name::LONGEST_TASK - RANDOM - 1);
    let stem = if stem.is_empty() { "task" } else { &stem };
    format!("{stem}-{}", &identity::nonce()[..RANDOM])
}

/// `busybox` of `docker.io/library/busybox:1.36@sha256:…`.
fn image_name(manifest: &Manifest) -> String {
    let containers = manifest.pod["spec"]["containers"].as_array();
    let own = containers.into_iter().flatten().find(|container| container["name"] == *manifest.container);
    let image = own.and_then(|own| own["image"].as_str()).unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split([':', '@']).next().unwrap_or_default().to_owned()
}

/// The task.
pub(super) fn task(args: &RunArgs, manifest: &Manifest, task: &str, namespace: &str) -> Result<TaskRequest, CliError> {
    let undisturbed = match args.again.disturb {
        Some(disturb) => disturb == Disturb::Deny,
        None => args.again.rerun != RerunWhen::Idempotent,
    };
    let mut pod = manifest.pod.clone();
    let plan = plan(args, &mut pod, &manifest.container)?;
    let template = Template::new(pod, undisturbed).map_err(too_large)?;
    let mut spec = spec(args, manifest, task, namespace);
    spec.result = plan.as_ref().map(Plan::by);
    Ok(TaskRequest { spec, template, plan })
}

/// The manifest travels with each pod, so that any machine can go on with the task.
fn too_large(error: PackError) -> CliError {
    CliError::input(error.to_string())
        .hint("It travels with the task's pods: put what is large of it (env, args, embedded files) into a ConfigMap or a Secret.")
}

/// Gives the pod a way out for the result. `None`: none is wanted.
fn plan(args: &RunArgs, pod: &mut Value, own: &str) -> Result<Option<Plan>, CliError> {
    let Some(path) = &args.result.result else { return Ok(None) };
    let sidecar = || match &args.result.results_image {
        Some(image) => Ok(sidecar_options(args, path, image)),
        None => {
            Err(CliError::input("--result needs an image for the sidecar that hands it over: --results-image IMAGE")
                .hint("Or, for results of at most 4096 bytes, without a sidecar: --results=message"))
        }
    };
    let plan = match args.result.results {
        Transport::Sidecar => result::add_sidecar(pod, own, &sidecar()?),
        Transport::Exec => result::add_waiter(pod, own, &sidecar()?),
        Transport::Message => result::add_message(pod, own, path),
    };
    plan.map(Some).map_err(|error| CliError::input(error.to_string()))
}

fn sidecar_options(args: &RunArgs, path: &str, image: &str) -> SidecarOptions {
    let mut options = SidecarOptions::new(image);
    path.clone_into(&mut options.path);
    options.security_context.clone_from(&args.result.results_security);
    if let Some(resources) = &args.result.results_resources {
        options.resources.clone_from(&resources.0);
    }
    options
}

fn spec(args: &RunArgs, manifest: &Manifest, task: &str, namespace: &str) -> Spec {
    let (again, clocks, keeping) = (&args.again, &args.clocks, &args.keeping);
    let mut spec = Spec::minimal(task, namespace, &identity::nonce());
    spec.template = manifest.template();
    if again.init_may_rerun {
        let init = manifest.pod["spec"]["initContainers"].as_array();
        let is_init = |name: &String| init.into_iter().flatten().any(|container| container["name"] == **name);
        spec.template.counted.retain(|name| !is_init(name));
    }
    spec.rerun = Rerun {
        policy: again.rerun.into(),
        never_started: again.rerun_never_started,
        started: again.rerun_started,
        retries: again.retries,
    };
    spec.on_unsigned_delete = again.on_unsigned_delete.into();
    spec.exit_zero_after_term = again.exit_zero_after_term.into();
    spec.replace_unreachable_after = again.replace_unreachable_after;
    for (limit, clock) in [
        (clocks.queue_timeout, &mut spec.clocks.queue),
        (clocks.schedule_timeout, &mut spec.clocks.schedule),
        (clocks.start_timeout, &mut spec.clocks.start),
        (clocks.run_timeout, &mut spec.clocks.run),
    ] {
        if let Some(limit) = limit {
            *clock = limit.0;
        }
    }
    spec.clocks.total = clocks.timeout.map_or(manifest.total, |limit| limit.0);
    spec.fail_fast_images = clocks.fail_fast_images;
    spec.on_finish = keeping.on_finish;
    spec.protect = keeping.protect;
    spec
}

/// The first attempt's pod, as it would be sent.
pub(super) fn body(request: &TaskRequest) -> Value {
    let mut core = Task::new(Time::default(), request.spec.clone(), Observer::first(identity::observer()));
    // A fresh task commands its create before it waits for anything.
    loop {
        match core.poll() {
            Output::Command(_, Command::Create(create)) => return request.template.body(&request.spec, &create),
            Output::Wait(_) => return request.template.manifest(),
            _ => {}
        }
    }
}
