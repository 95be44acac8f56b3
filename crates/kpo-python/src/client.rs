//! A connection.

use crate::engine::{Engine, OfProcess};
use crate::errors::{Error, Kind};
use crate::job::Job;
use kpo::KubernetesHook;
use kpo::driver;
use kpo::hook::{ConnectOptions, Source, TokenCallback};
use kpo::request::Call;
use kpo::watch::{Watch, WatchOptions};
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long the first answer of a cluster is waited for: later outages are ridden out, but a wrong address is told at once.
pub(crate) const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// A connection to one cluster.
#[pyclass(frozen, module = "kpo._kpo")]
pub(crate) struct Client(OfProcess<Mutex<Option<Open>>>);

/// An open connection. Clones share it.
#[derive(Clone)]
pub(crate) struct Open {
    pub(crate) engine: Arc<Engine>,
    pub(crate) hook: KubernetesHook,
    /// The watches that tasks share, by namespace. `None`: each has its own.
    watches: Option<Arc<Mutex<BTreeMap<String, Watch>>>>,
}

impl Open {
    /// The watch that all tasks of that namespace share. `None`: each has its own. To be called on the engine's thread.
    pub(crate) fn watch(&self, namespace: &str) -> Option<Watch> {
        let mut watches = self.watches.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || {
            let requests = self.hook.pods(namespace).requests().clone();
            let options = WatchOptions::of(&requests);
            Watch::start(requests, namespace, options)
        };
        Some(watches.entry(namespace.to_owned()).or_insert_with(start).clone())
    }
}

/// Where the configuration comes from: a kubeconfig's file, a kubeconfig's text, the pod's service account, or, with none of them, as kubectl
/// finds it. `token`: called without arguments, from any thread, for a bearer token: before the first request, and after each 401.
#[pyfunction]
#[pyo3(signature = (*, file, text, in_cluster, context, token, shared_watch))]
pub(crate) fn connect(
    py: Python<'_>,
    file: Option<PathBuf>,
    text: Option<String>,
    in_cluster: bool,
    context: Option<String>,
    token: Option<Py<PyAny>>,
    shared_watch: bool,
) -> PyResult<Job> {
    let source = match (file, text) {
        (Some(file), _) => Source::File(file),
        (None, Some(text)) => Source::Text(text),
        (None, None) if in_cluster => Source::InCluster,
        (None, None) => Source::Default,
    };
    let options = ConnectOptions { source, context, token: token.map(callback), ..ConnectOptions::default() };
    let engine = Engine::shared(py)?;
    let connecting = async move { Ok(KubernetesHook::connect(options).await?) };
    let own = Arc::clone(&engine);
    let watches = shared_watch.then(Arc::default);
    Ok(Job::start(engine, connecting, move |py, hook| {
        let open = Open { engine: own, hook, watches };
        Ok(Py::new(py, Client(OfProcess::new(Mutex::new(Some(open)))))?.into_any())
    }))
}

/// Asks Python, on a thread that may wait for it. What it raises is named by its class only: its text may hold a secret.
fn callback(ask: Py<PyAny>) -> TokenCallback {
    let ask = Arc::new(ask);
    TokenCallback::new(move || {
        let ask = Arc::clone(&ask);
        async move {
            let asked = tokio::task::spawn_blocking(move || Python::try_attach(|py| token(py, &ask))).await;
            asked.ok().flatten().unwrap_or_else(|| Err("Python is on its way out".to_owned()))
        }
    })
}

fn token(py: Python<'_>, ask: &Py<PyAny>) -> Result<String, String> {
    let class = |error: PyErr| {
        let name = error.get_type(py).name().map_or_else(|_| "an exception".to_owned(), |name| name.to_string());
        format!("the token callback raised {name}")
    };
    let given = ask.call0(py).map_err(class)?;
    given.extract::<String>(py).map_err(|_| "the token callback gave no str".to_owned())
}

impl Client {
    /// The connection, where it is open.
    pub(crate) fn open(&self) -> Result<Open, Error> {
        let open = self.0.get()?.lock().unwrap_or_else(PoisonError::into_inner).clone();
        open.ok_or_else(|| Error::new(Kind::Closed, "the client is closed"))
    }
}

#[pymethods]
impl Client {
    /// The namespace that the configuration names.
    #[getter]
    fn namespace(&self) -> PyResult<String> {
        Ok(self.open()?.hook.default_namespace().to_owned())
    }

    /// `host:port`
    #[getter]
    fn server(&self) -> PyResult<String> {
        Ok(self.open()?.hook.server().to_string())
    }

    /// The names of a task's pods, oldest attempt first.
    fn find(&self, namespace: String, task: String) -> PyResult<Job> {
        let open = self.open()?;
        let finding = async move { Ok(driver::find(&open.hook, &namespace, &task).await?) };
        Ok(Job::start(self.open()?.engine, finding, |py, names| Ok(names.into_pyobject(py)?.into_any().unbind())))
    }

    /// Reads a pod as JSON: on a 404, and only on a 404, again after 2 s, 4 s and 8 s.
    fn read_pod(&self, namespace: String, name: String, within: Option<f64>) -> PyResult<Job> {
        let open = self.open()?;
        let reading = async move {
            let call = within.map_or_else(Call::forever, |seconds| Call::within(crate::job::span(seconds)));
            let read = open.hook.get_pod(&namespace, &name, call).await;
            read.map(|pod| pod.to_string()).map_err(Error::from)
        };
        Ok(Job::start(self.open()?.engine, reading, |py, pod| Ok(pod.into_pyobject(py)?.into_any().unbind())))
    }

    /// Ends it. Tasks under way keep what they need of it.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let open = self.0.get()?.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Open { engine, hook, watches }) = open {
            drop((hook, watches));
            Engine::release(py, engine);
        }
        Ok(())
    }
}
