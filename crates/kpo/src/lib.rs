//! Runs a task as a Kubernetes pod to completion and does not lose it.
//!
//! The whole of it: a connection, a manifest with a way out for its result, the task's events, and its outcome, which is taken before
//! anything is deleted.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use kpo::driver::{self, TaskRequest, What};
//! use kpo::hook::{ConnectOptions, KubernetesHook};
//! use kpo::logs::LogEvent;
//! use kpo::manifest::{Request, manifest};
//! use kpo::result::{SidecarOptions, add_sidecar};
//!
//! let hook = KubernetesHook::connect(ConnectOptions::default()).await?;
//! let mut manifest = manifest(Request {
//!     image: Some("registry.example/report:7".into()),
//!     args: vec!["--day=today".into()],
//!     ..Request::default()
//! })?;
//! let plan = add_sidecar(&mut manifest.pod, "base", &SidecarOptions::new("registry.example/busybox:1.37"))?;
//! let mut request = TaskRequest::new("nightly", hook.default_namespace(), &manifest)?;
//! request.spec.result = Some(plan.by());
//! request.plan = Some(plan);
//!
//! let mut running = driver::run(&hook, request);
//! while let Some(event) = running.next().await {
//!     match event.what {
//!         What::Task(step) => eprintln!("{step:?}"),
//!         What::Log(piece) => {
//!             if let LogEvent::Lines(batch) = piece.event {
//!                 batch.iter().for_each(|line| println!("{}", String::from_utf8_lossy(line.bytes)));
//!             }
//!         }
//!         What::Outcome(delivery) => {
//!             // Somewhere safe first: then the pod goes.
//!             std::fs::write("outcome.json", serde_json::to_vec(delivery.outcome())?)?;
//!             println!("{:?}", delivery.taken().result);
//!         }
//!         _ => {}
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! Who was not there from the beginning finds it again with [`driver::attach`].

pub mod body;
mod chain;
pub mod driver;
pub mod hook;
pub mod identity;
pub mod logs;
pub mod manager;
pub mod manifest;
pub mod options;
pub mod request;
pub mod result;
pub mod watch;

pub use chain::chain;
pub use hook::KubernetesHook;
pub use kpo_core::{
    AttachError, AttemptRecord, AttemptVerdict, Because, Carried, Cause, Class, Clocks, Create, Event as TaskEvent,
    Found, Hindrance, Input, Naming, Next, NoRerun, OnFinish, OnUnsignedDelete, Outcome, Pod, PodRef, Proof, Reason,
    Rerun, RerunPolicy, ResultBy, Sight, Spec, Started, Stop, Template as SpecTemplate, Time, Times, Verdict, exit,
    pod, spec::ExitZeroAfterTerm, sweep::Due,
};
pub use manager::PodManager;

mod lines;
#[cfg(test)]
mod testing;
