//! The Python package's native half: the engine, the command line and the lab as Python can call them.
//!
//! Thin: what the engine decides is handed on as data, and made classes and sentences of in `python/kpo`. Whatever takes time is a job
//! (or a task's events, likewise): Python waits for it in a thread or in an event loop, never this crate.

mod asked;
mod cli;
mod client;
mod engine;
mod errors;
mod job;
mod lab;
mod mailbox;
mod read;
mod task;
mod told;

use pyo3::prelude::*;

/// `kpo._kpo`
#[pymodule(gil_used = true)]
mod _kpo {
    #[pymodule_export]
    use super::cli::main;
    #[pymodule_export]
    use super::client::{Client, connect};
    #[pymodule_export]
    use super::errors::error_table;
    #[pymodule_export]
    use super::job::Job;
    #[pymodule_export]
    use super::lab::{Cluster, lab, lab_scripts};
    #[pymodule_export]
    use super::read::{audit, pod_not_found, read_delays};
    #[pymodule_export]
    use super::task::{Followed, attach, start};

    /// The package's version.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
