//! The values of the flags that set a policy.

use crate::env;
use crate::error::CliError;
use clap::ValueEnum;
use kpo_core::spec::{ExitZeroAfterTerm, OnUnsignedDelete, RerunPolicy};
use kpo_core::{OnFinish, ResultBy};

/// `--rerun`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RerunWhen {
    /// Never, whatever happened
    Never,
    /// Only with proof that no container of it ran
    IfNotStarted,
    /// Also after a start, while the program has not written "committed" to its termination message
    UntilCommit,
    /// Always: the program may run twice
    Idempotent,
}

impl From<RerunWhen> for RerunPolicy {
    fn from(when: RerunWhen) -> Self {
        match when {
            RerunWhen::Never => Self::Never,
            RerunWhen::IfNotStarted => Self::IfNotStarted,
            RerunWhen::UntilCommit => Self::UntilCommit,
            RerunWhen::Idempotent => Self::Idempotent,
        }
    }
}

/// `--on-unsigned-delete`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnUnsigned {
    /// Somebody wanted it gone: the task ends
    End,
    /// As any other disruption: --rerun decides
    Recreate,
}

impl From<OnUnsigned> for OnUnsignedDelete {
    fn from(on: OnUnsigned) -> Self {
        match on {
            OnUnsigned::End => Self::End,
            OnUnsigned::Recreate => Self::Recreate,
        }
    }
}

/// `--exit-zero-after-term`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExitZero {
    /// A success is a success
    Success,
    /// A disruption after a start: the program traps TERM and stops half-way
    Disrupted,
}

impl From<ExitZero> for ExitZeroAfterTerm {
    fn from(exit: ExitZero) -> Self {
        match exit {
            ExitZero::Success => Self::Success,
            ExitZero::Disrupted => Self::Disrupted,
        }
    }
}

/// `--disturb`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Disturb {
    /// Ask autoscalers to leave the pod where it is (karpenter.sh/do-not-disrupt, safe-to-evict)
    Deny,
    /// Let them move it
    Allow,
}

/// `--results`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// By a native sidecar (Kubernetes 1.29 or later), which needs --results-image
    Sidecar,
    /// As the termination message of the task's own container: its last 4096 bytes at most, cheapest
    Message,
    /// Read by exec from a sidecar, which needs --results-image and the right to exec
    Exec,
}

impl From<Transport> for ResultBy {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Sidecar => Self::Sidecar,
            Transport::Message => Self::Message,
            Transport::Exec => Self::Exec,
        }
    }
}

/// `--on-sigterm`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnSigterm {
    /// Leave the pod running; `kpo attach` goes on with it
    Detach,
    /// Delete the pod
    Cancel,
}

/// What a SIGTERM means: by the flag, else by the environment, where what is empty is not set.
pub(crate) fn on_sigterm(flag: Option<OnSigterm>) -> Result<OnSigterm, CliError> {
    let set = std::env::var_os(env::ON_SIGTERM).filter(|value| !value.is_empty());
    match (flag, set) {
        (Some(flag), _) => Ok(flag),
        (None, None) => Ok(OnSigterm::Detach),
        (None, Some(value)) => OnSigterm::from_str(&value.to_string_lossy(), false)
            .map_err(|_| CliError::input(format!("{} is {value:?}: it is detach or cancel", env::ON_SIGTERM))),
    }
}

/// `--on-finish`: `delete`, `keep`, `keep-failed`, `keep-failed=2h`.
pub(crate) fn on_finish(text: &str) -> Result<OnFinish, String> {
    match text {
        "delete" => Ok(OnFinish::None),
        "keep" => Ok(OnFinish::All),
        "keep-failed" => Ok(OnFinish::Failed { lifetime: None }),
        other => match other.strip_prefix("keep-failed=").map(super::span) {
            Some(Ok(lifetime)) => Ok(OnFinish::Failed { lifetime: Some(lifetime) }),
            Some(Err(why)) => Err(why),
            None => Err("it is delete, keep, keep-failed or keep-failed=2h".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_kept_is_read() {
        assert_eq!(on_finish("delete"), Ok(OnFinish::None));
        assert_eq!(on_finish("keep"), Ok(OnFinish::All));
        assert_eq!(on_finish("keep-failed"), Ok(OnFinish::Failed { lifetime: None }));
        let two_hours = Some(Duration::from_secs(7_200));
        assert_eq!(on_finish("keep-failed=2h"), Ok(OnFinish::Failed { lifetime: two_hours }));
        assert!(on_finish("keep-failed=2").is_err() && on_finish("stay").is_err());
    }
}
