//! What went wrong, once: kind, sentence, causes, hints.

use crate::render;
use kpo::hook::ConnectError;
use kpo::manifest::ManifestError;
use kpo::request::{ApiFailure, RequestError, TransportKind};
use kpo_core::classify;
use kpo_core::reason::exit;
use kpo_core::{Reason, Refusal};
use serde_json::{Value, json};
use std::error::Error;
use std::fmt;

/// An error as a person gets to see it.
#[derive(Debug)]
pub(crate) struct CliError {
    /// Decides heading and exit code.
    pub(crate) kind: ErrorKind,
    message: String,
    hints: Vec<String>,
}

/// What kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// Flags, a manifest or a file that cannot be taken.
    Input,
    /// The cluster cannot be reached, or does not let us in.
    Connection,
    /// A right is missing.
    Forbidden,
    /// No such task or pod.
    NotFound,
    /// The cluster refused.
    Refused,
    /// It took longer than was to be waited.
    Timeout,
    /// Something on this machine.
    Local,
    /// A signal came before anything was under way; the exit code is the signal's.
    Interrupted(i32),
    /// The create was refused, or would be.
    Launch(Reason),
    /// A bug.
    Bug,
}

/// kpo's exit codes and what they mean, for help and reference.
pub(crate) fn exit_codes() -> Vec<(String, &'static str)> {
    let own = [
        (exit::SUCCESS, "The program succeeded"),
        (exit::FAILED, "The task failed without a code of its own container's: an init container, storage"),
        (exit::USAGE, "The command line or the manifest is wrong; nothing was created"),
        (exit::BROKEN_RESULT, "The result that was asked for is missing or broken"),
        (exit::NO_POD, "There is no pod of the task: finished and cleaned up, or lost"),
        (exit::DISRUPTED, "The pod was taken away, and may not run again, or not any more"),
        (exit::TAKEN_OVER, "Taken over by another process, to go on with it or to cancel it: its end is there"),
        (exit::FORBIDDEN, "A right is missing"),
        (exit::TIMEOUT, "A clock ran out"),
        (exit::OWN, "kpo's own failure: no connection, a broken cluster, a bug"),
        (exit::LAUNCH_FAILED, "The program could not be launched: image, configuration, refused"),
        (128 + 1, "Left by SIGHUP: the pod stays, and kpo attach goes on with it (--on-sigterm)"),
        (exit::CANCELLED, "Cancelled by Ctrl-C; attach and wait: cancelled by anybody, or left by Ctrl-C"),
        (exit::KILLED, "Killed, where the kubelet reported no code"),
        (128 + 15, "Left by SIGTERM, as by SIGHUP"),
    ];
    let program =
        [("any".to_owned(), "The program's own code, where it failed; one of kpo's may be the same: see -o json")];
    program.into_iter().chain(own.map(|(code, meaning)| (code.to_string(), meaning))).collect()
}

impl ErrorKind {
    /// The heading and the exit code: the one place that knows.
    fn shown(self) -> (&'static str, i32) {
        match self {
            ErrorKind::Input => ("error", exit::USAGE),
            ErrorKind::Connection => ("no connection", exit::OWN),
            ErrorKind::Forbidden => ("refused", exit::FORBIDDEN),
            ErrorKind::NotFound => ("not found", exit::NO_POD),
            ErrorKind::Refused => ("refused", exit::LAUNCH_FAILED),
            ErrorKind::Timeout => ("timed out", exit::TIMEOUT),
            ErrorKind::Local => ("error", exit::OWN),
            ErrorKind::Interrupted(code) => ("left", code),
            ErrorKind::Launch(reason) => (render::heading(reason), reason.exit_code()),
            ErrorKind::Bug => ("kpo failed (a bug)", exit::OWN),
        }
    }

    pub(crate) fn exit_code(self) -> i32 {
        self.shown().1
    }
}

impl CliError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hints: Vec::new() }
    }

    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// An error with the chain of its causes, joined once.
    pub(crate) fn because(kind: ErrorKind, message: impl fmt::Display, cause: &dyn Error) -> Self {
        Self::new(kind, format!("{message}: {}", chain(cause)))
    }

    /// What to do.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The same for several, if there are any.
    pub(crate) fn hints(self, hints: impl IntoIterator<Item = impl Into<String>>) -> Self {
        hints.into_iter().fold(self, Self::hint)
    }

    /// Heading, message, and the hints below.
    pub(crate) fn text(&self) -> String {
        let hints = self.hints.iter().map(|hint| format!("\n  {hint}")).collect::<String>();
        format!("{}: {}{hints}", self.kind.shown().0, self.message)
    }

    /// What stands on standard output in place of an Outcome, where there is none to print.
    pub(crate) fn object(&self) -> Value {
        let (heading, code) = self.kind.shown();
        let parts = self.hints.iter().map(|hint| hint.trim().to_owned());
        let message =
            std::iter::once(format!("{heading}: {}", self.message)).chain(parts).collect::<Vec<_>>().join(" ");
        json!({"apiVersion": "kpo.rs/v1", "kind": "Error", "exitCode": code, "message": message})
    }

    /// A create that was refused, or would be, in the terms of a task that ends by it.
    pub(crate) fn refused(error: RequestError) -> Self {
        let Some(status) = error.failure.status().filter(|_| !error.failure.is_transient()) else {
            return error.into();
        };
        let refusal = Refusal {
            code: status.code,
            reason: status.reason.clone(),
            message: status.message.clone(),
            retry_after: None,
        };
        let reason = classify::refusal(&refusal).reason;
        let (message, rule) = render::explained(&refusal.message);
        let found = Self::new(ErrorKind::Launch(reason), message);
        if rule.is_empty() { found.hint(render::registered(reason)) } else { rule.into_iter().fold(found, Self::hint) }
    }
}

/// An error and its causes in one line; a cause that the line already ends with is not said again.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        next = cause.source();
    }
    text
}

impl From<ManifestError> for CliError {
    fn from(error: ManifestError) -> Self {
        Self::input(error.to_string())
    }
}

impl From<ConnectError> for CliError {
    fn from(error: ConnectError) -> Self {
        let found = Self::new(ErrorKind::Connection, chain(&error));
        match error {
            ConnectError::NoKubeconfig { .. } => {
                let lab = format!("{} run --lab …", render::program());
                found.hint(format!("Give one with --kubeconfig or $KUBECONFIG; or try it without a cluster: {lab}"))
            }
            ConnectError::UnknownContext { .. } => Self { kind: ErrorKind::Input, ..found },
            _ => found,
        }
    }
}

impl From<RequestError> for CliError {
    fn from(error: RequestError) -> Self {
        let kind = match &error.failure {
            ApiFailure::Forbidden(_) => ErrorKind::Forbidden,
            ApiFailure::NotFound(_) | ApiFailure::Gone(_) => ErrorKind::NotFound,
            ApiFailure::Transport { .. } | ApiFailure::Credentials(_) | ApiFailure::Unauthorized(_) => {
                ErrorKind::Connection
            }
            _ => ErrorKind::Refused,
        };
        if let ApiFailure::Forbidden(status) = &error.failure {
            let (message, rule) = render::explained(&status.message);
            return rule.into_iter().fold(Self::new(kind, message), Self::hint);
        }
        let found = Self::new(kind, chain(&error));
        match &error.failure {
            ApiFailure::Unauthorized(_) => {
                found.hint("Its token may have expired: log in again, then repeat the command.")
            }
            ApiFailure::Transport { kind, .. } => match next_step(*kind) {
                Some(next) => found.hint(next),
                None => found,
            },
            _ => found,
        }
    }
}

/// What to look at where no server answered.
fn next_step(kind: TransportKind) -> Option<&'static str> {
    match kind {
        TransportKind::Certificate => Some(
            "No authority that is trusted here (the kubeconfig's own, or without one this machine's) has signed for this server; or something in between answers for it. Fetch the kubeconfig anew.",
        ),
        TransportKind::Proxy => Some("Look at the kubeconfig's proxy-url, HTTPS_PROXY and NO_PROXY."),
        TransportKind::Descriptors => Some("Raise it: ulimit -n 65536"),
        TransportKind::Turn => None,
        TransportKind::Dns
        | TransportKind::Refused
        | TransportKind::ConnectTimeout
        | TransportKind::Connect
        | TransportKind::Timeout
        | TransportKind::Broken => {
            Some("Is that the cluster you mean, and is it up? Another one: --context or --kubeconfig.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the door is shut")]
    struct Shut(#[source] std::io::Error);

    #[test]
    fn causes_are_joined_once() {
        let error = Shut(std::io::Error::other("no key"));
        assert_eq!(chain(&error), "the door is shut: no key");
        let told = CliError::because(ErrorKind::Local, "cannot enter", &error).hint("Knock.");
        assert_eq!(told.text(), "error: cannot enter: the door is shut: no key\n  Knock.");
    }
}
