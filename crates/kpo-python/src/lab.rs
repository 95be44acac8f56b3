//! An embedded cluster, on a thread of its own.

use crate::engine::{Engine, OfProcess};
use crate::errors::{Error, Kind};
use crate::job::Job;
use kpo_lab::api::User;
use kpo_lab::{Lab, LiveError, World, script};
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A cluster that ends with it.
#[pyclass(frozen, module = "kpo._kpo")]
pub(crate) struct Cluster(OfProcess<Mutex<Option<Running>>>);

struct Running {
    engine: Arc<Engine>,
    lab: Lab<World>,
    /// What of its script came to nothing.
    refusals: Arc<Mutex<Vec<String>>>,
}

/// Starts one: a script that the lab brings along, or one's text.
#[pyfunction]
pub(crate) fn lab(text: &str) -> PyResult<Job> {
    let script = match script::built_in(text) {
        Some(script) => script,
        None => parse(text)?,
    };
    let engine = Arc::new(Engine::start("kpo-lab")?);
    let own = Arc::clone(&engine);
    let refusals: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = Arc::clone(&refusals);
    let starting = async move {
        let tell = move |why: &str| told.lock().unwrap_or_else(PoisonError::into_inner).push(why.to_owned());
        Ok(Lab::live(&script, tell).await?)
    };
    Ok(Job::start(engine, starting, move |py, lab| {
        let running = Running { engine: own, lab, refusals };
        Ok(Py::new(py, Cluster(OfProcess::new(Mutex::new(Some(running)))))?.into_any())
    }))
}

/// The scripts that the lab brings along.
#[pyfunction]
pub(crate) fn lab_scripts() -> Vec<&'static str> {
    script::NAMES.to_vec()
}

fn parse(text: &str) -> Result<script::Script, Error> {
    script::parse_scenario(text).map_err(|error| Error::new(Kind::Input, format!("the script:{error}")))
}

impl From<LiveError> for Error {
    fn from(error: LiveError) -> Self {
        let kind = if matches!(error, LiveError::Refused(_)) { Kind::Input } else { Kind::Local };
        Self::new(kind, format!("the lab cannot start: {}", kpo::chain(&error)))
    }
}

impl Cluster {
    fn with<T: Send>(&self, py: Python<'_>, act: impl FnOnce(&Running) -> T + Send) -> Result<T, Error> {
        let running = self.0.get()?;
        // The lab's own thread has it locked now and then, and for that never wants Python.
        py.detach(|| {
            let running = running.lock().unwrap_or_else(PoisonError::into_inner);
            let running = running.as_ref().ok_or_else(|| Error::new(Kind::Closed, "the lab has ended"))?;
            let _inside = running.engine.handle().enter();
            Ok(act(running))
        })
    }
}

#[pymethods]
impl Cluster {
    /// `https://127.0.0.1:port`
    #[getter]
    fn url(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.with(py, |running| running.lab.url().unwrap_or_default())?)
    }

    /// The admin's kubeconfig: YAML.
    #[getter]
    fn kubeconfig(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.with(py, |running| running.lab.kubeconfig().unwrap_or_default())?)
    }

    /// The admin's bearer token.
    #[getter]
    fn token(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.with(py, |running| running.lab.token().unwrap_or_default().to_owned())?)
    }

    /// Writes the admin's kubeconfig to a new file.
    fn write_kubeconfig(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let written = self.with(py, |running| running.lab.write_kubeconfig(&path))?;
        Ok(written.map_err(|error| Error::new(Kind::Local, kpo::chain(&error)))?)
    }

    /// Makes a token the admin's, too.
    fn grant(&self, py: Python<'_>, token: &str) -> PyResult<()> {
        Ok(self.with(py, |running| running.lab.grant(token, User::admin()))?)
    }

    /// Makes a token invalid from now on.
    fn expire(&self, py: Python<'_>, token: &str) -> PyResult<()> {
        Ok(self.with(py, |running| running.lab.expire(token))?)
    }

    /// Plays a script's lines from now on.
    fn play(&self, py: Python<'_>, text: &str) -> PyResult<()> {
        let script = parse(text)?;
        self.with(py, |running| running.lab.with(|_, world| world.play(&script)))?;
        Ok(())
    }

    /// What of its script came to nothing, and why.
    fn refusals(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        Ok(self.with(py, |running| running.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone())?)
    }

    /// How often each kind of request came: `{"create pods": 1}`.
    fn requests(&self, py: Python<'_>) -> PyResult<BTreeMap<String, u64>> {
        Ok(self.with(py, |running| {
            let mut counts = BTreeMap::new();
            for (kind, count) in running.lab.requests() {
                *counts.entry(format!("{} {}", kind.verb, kind.resource)).or_default() += count;
            }
            counts
        })?)
    }

    /// Ends it, and its containers.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let running = self.0.get()?.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { engine, lab, .. }) = running {
            py.detach(|| {
                let _inside = engine.handle().enter();
                drop(lab);
            });
            Engine::release(py, engine);
        }
        Ok(())
    }
}
