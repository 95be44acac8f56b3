//! The command line.

use pyo3::prelude::*;
use std::ffi::OsString;

/// Runs the command line with these arguments, the first of them the program's name; returns what the process shall exit with.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| kpo_cli::run(arguments))
}
