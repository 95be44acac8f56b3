//! The Python package's native half: the engine, the command line and the lab as Python can call them.
//!
//! Thin: what the engine decides is handed on as data, and made classes and sentences of in `python/kpo`.

mod cli;

use pyo3::prelude::*;

/// `kpo._kpo`
#[pymodule(gil_used = true)]
mod _kpo {
    #[pymodule_export]
    use super::cli::main;

    /// The package's version.
    #[pymodule_export]
    const VERSION: &str = env!("CARGO_PKG_VERSION");
}
