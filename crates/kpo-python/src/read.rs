//! The read retry, for clients that are not the engine's own.

use crate::errors::{Error, Kind};
use kpo::manager::{PodNotFound, ReadRetry};
use pyo3::prelude::*;
use serde_json::Value;
use std::time::Duration;

/// The waits before each further read of a pod that was not found, in seconds.
#[pyfunction]
pub(crate) fn read_delays() -> Vec<f64> {
    ReadRetry::default().delays.iter().map(Duration::as_secs_f64).collect()
}

/// What is said of a pod that was not there at any read. `seen` (a pod) and `events` (a list of them) are JSON; `refused`: why there are no
/// events.
#[pyfunction]
#[pyo3(signature = (namespace, name, *, waited, seen, events, refused))]
pub(crate) fn pod_not_found(
    namespace: &str,
    name: &str,
    waited: Vec<f64>,
    seen: Option<&str>,
    events: Option<&str>,
    refused: Option<String>,
) -> PyResult<String> {
    let waited = waited.into_iter().map(crate::job::span).collect();
    let (seen, events) = (seen.map(json).transpose()?, events.map(json).transpose()?);
    let events = events.as_ref().ok_or_else(|| refused.unwrap_or_default());
    Ok(PodNotFound::told(namespace, name, waited, seen.as_ref(), events).to_string())
}

/// What became of a pod that was not kpo's, and what kpo would have done: whether it was lost, whether it would have been run again, and one line.
/// `recording`: sights of it and its events, JSON, one after the other.
#[pyfunction]
pub(crate) fn audit(recording: &str, container: &str, gone: bool) -> PyResult<(bool, bool, String)> {
    let found = kpo_cli::audit(recording, container, gone).map_err(|error| Error::new(Kind::Input, error))?;
    Ok((found.is_lost, found.would_rerun, found.line))
}

fn json(text: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(|_| Error::new(Kind::Input, "it is no JSON"))
}
