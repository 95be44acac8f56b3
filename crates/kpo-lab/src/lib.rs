//! An embedded Kubernetes cluster for tests and trials: API server, scheduler, DaemonSets, nodes, kubelet.
//!
//! One cluster is one synchronous value behind one lock; time is an argument; IO is at its edges. So the same cluster runs live (HTTPS,
//! local processes), in-process under a paused clock (no sockets), and fully synchronously. `LIMITS.md` says what it does not do.

pub mod api;
pub mod clock;
mod daemonsets;
pub mod error;
mod events;
pub mod faults;
mod kubelet;
mod lab;
pub mod log;
mod nodes;
mod pod;
mod podgc;
pub mod process;
mod provisioner;
pub mod quantity;
pub mod resource;
pub mod runtime;
mod scheduler;
pub mod script;
pub mod scripted;
pub mod server;
pub mod store;
pub mod time;
pub mod world;

pub use clock::Clock;
pub use error::ApiError;
pub use faults::{Fault, FaultGuard, Faults, Match, Reply, Seen};
pub use kubelet::{Connection, Images, Network, Pull, Records, Timing};
pub use lab::{Lab, LabOptions, LiveError};

pub use log::ContainerLog;
pub use nodes::NodeSpec;
pub use process::ProcessRuntime;
pub use provisioner::{ProvisionerKind, ProvisionerSpec};
pub use quantity::Quantity;
pub use resource::Resource;
pub use runtime::{MixedRuntime, Runtime};
pub use scripted::ScriptedRuntime;
pub use server::tls::ServeError;
pub use server::{Cluster, LabService, RequestKind};
pub use store::{Change, ChangeKind, Compacted, DeleteOptions, Deletion, Store, Writer};
pub use time::Time;
pub use world::{Livelock, World};
