//! Runs a task as a Kubernetes pod to completion and does not lose it.

pub mod body;
mod chain;
pub mod driver;
pub mod hook;
pub mod identity;
pub mod logs;
pub mod manager;
pub mod manifest;
pub mod request;
pub mod result;
pub mod watch;

pub use chain::chain;
pub use hook::KubernetesHook;
pub use kpo_core::{
    AttemptRecord, Because, Cause, Class, Clocks, Event as TaskEvent, Hindrance, Naming, Next, NoRerun, OnFinish,
    OnUnsignedDelete, Outcome, Proof, Reason, Rerun, RerunPolicy, Spec, Started, Stop, Verdict, exit,
};
pub use manager::PodManager;

mod lines;
#[cfg(test)]
mod testing;
