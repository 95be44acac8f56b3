//! Runs a task as a Kubernetes pod to completion and does not lose it.

pub mod body;
pub mod driver;
pub mod hook;
pub mod identity;
pub mod logs;
pub mod manager;
pub mod manifest;
pub mod request;
pub mod result;
pub mod watch;

pub use hook::KubernetesHook;
pub use manager::PodManager;

mod lines;
#[cfg(test)]
mod testing;
