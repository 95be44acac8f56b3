//! From flags and a manifest to a task.

use super::{CliError, ClockArgs, Disturb, Limit, Manifest, Observer, RunArgs, Task, TaskRequest, Time};
use crate::files::read_source;
use crate::render;
use kpo::identity;
use kpo::manifest;
use kpo::options::{OptionsError, ResultOptions, TaskOptions};
use kpo_core::spec::Naming;
use kpo_core::{Clocks, Command, Output, Rerun};
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

/// The task.
pub(super) fn task(args: &RunArgs, manifest: &Manifest, task: &str, namespace: &str) -> Result<TaskRequest, CliError> {
    options(args).task(manifest, task, namespace).map_err(wrong)
}

/// What is wrong with the flags, in their words.
fn wrong(error: OptionsError) -> CliError {
    match error {
        OptionsError::ReplaceButNever => CliError::input(
            "--replace-unreachable-after makes a second pod, and --rerun=never forbids one: leave one of them out",
        ),
        OptionsError::NoResultImage => {
            CliError::input("--result needs an image for the sidecar that hands it over: --results-image IMAGE")
                .hint("Or, for results of at most 4096 bytes, without a sidecar: --results=message")
        }
        OptionsError::TooLarge(error) => CliError::input(error.to_string())
            .hint("It travels with the task's pods: put what is large of it (env, args, embedded files) into a ConfigMap or a Secret."),
        error => CliError::input(error.to_string()),
    }
}

fn options(args: &RunArgs) -> TaskOptions {
    let (again, clocks, keeping) = (&args.again, &args.clocks, &args.keeping);
    let rerun = Rerun {
        policy: again.rerun.into(),
        never_started: again.rerun_never_started,
        started: again.rerun_started,
        retries: again.retries,
    };
    TaskOptions {
        rerun,
        on_unsigned_delete: again.on_unsigned_delete.into(),
        exit_zero_after_term: again.exit_zero_after_term.into(),
        init_may_rerun: again.init_may_rerun,
        replace_unreachable_after: again.replace_unreachable_after,
        undisturbed: again.disturb.map(|disturb| disturb == Disturb::Deny),
        clocks: clocks_of(clocks),
        total: clocks.timeout.map(|limit| limit.0),
        fail_fast_images: clocks.fail_fast_images,
        result: args.result.result.as_ref().map(|path| result(args, path)),
        on_finish: keeping.on_finish,
        protect: keeping.protect,
        naming: Naming::Numbered,
    }
}

fn clocks_of(args: &ClockArgs) -> Clocks {
    let default = Clocks::default();
    let set = |limit: Option<Limit>, default| limit.map_or(default, |limit| limit.0);
    Clocks {
        queue: set(args.queue_timeout, default.queue),
        schedule: set(args.schedule_timeout, default.schedule),
        start: set(args.start_timeout, default.start),
        run: set(args.run_timeout, default.run),
        total: default.total,
    }
}

fn result(args: &RunArgs, path: &str) -> ResultOptions {
    ResultOptions {
        path: path.to_owned(),
        by: args.result.results.into(),
        image: args.result.results_image.clone(),
        resources: args.result.results_resources.clone().map(|resources| resources.0),
        security_context: args.result.results_security.clone(),
        absent: None,
    }
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
