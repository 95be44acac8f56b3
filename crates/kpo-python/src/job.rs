//! Something that is being done, and what comes of it.

use crate::engine::{Engine, OfProcess};
use crate::errors::{Error, Kind};
use crate::mailbox::Mailbox;
use pyo3::prelude::*;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;

/// Makes what comes of it a Python object.
pub(crate) type Made = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// Something that is being done on the engine's thread: waited for in a thread or in an event loop, then taken, once. Dropped before, it is given up.
#[pyclass(frozen, module = "kpo._kpo")]
pub(crate) struct Job(OfProcess<Doing>);

struct Doing {
    /// Kept alive until what came of it was taken.
    engine: Mutex<Option<Arc<Engine>>>,
    mailbox: Mailbox<Result<Made, Error>>,
    task: AbortHandle,
}

impl Drop for Doing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Job {
    pub(crate) fn start<T>(
        engine: Arc<Engine>,
        doing: impl Future<Output = Result<T, Error>> + Send + 'static,
        object: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Self
    where
        T: Send + 'static,
    {
        let mailbox = Mailbox::new();
        let done = mailbox.clone();
        let task = engine.spawn(async move {
            let came = doing.await.map(|came| Box::new(move |py: Python<'_>| object(py, came)) as Made);
            done.put(came).await;
            done.close();
        });
        Self(OfProcess::new(Doing { engine: Mutex::new(Some(engine)), mailbox, task }))
    }
}

#[pymethods]
impl Job {
    /// Waits for its end, at most so many seconds. Whether it has come.
    fn wait(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        Ok(self.0.get()?.mailbox.wait(py, span(seconds)))
    }

    /// Has that called once, by any thread, when its end has come.
    fn when_ready(&self, py: Python<'_>, waker: Py<PyAny>) -> PyResult<()> {
        self.0.get()?.mailbox.when_ready(py, waker);
        Ok(())
    }

    /// What came of it, or its error; once.
    fn take(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let doing = self.0.get()?;
        let came = doing
            .mailbox
            .take()
            .ok_or_else(|| Error::new(Kind::Closed, "nothing came of it, or it was taken before"))?;
        let made = came.map_err(PyErr::from).and_then(|made| made(py));
        doing.release(py);
        made
    }

    /// Gives it up.
    fn cancel(&self, py: Python<'_>) -> PyResult<()> {
        let doing = self.0.get()?;
        doing.task.abort();
        doing.mailbox.close();
        doing.release(py);
        Ok(())
    }
}

impl Doing {
    fn release(&self, py: Python<'_>) {
        let engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(engine) = engine {
            Engine::release(py, engine);
        }
    }
}

/// Seconds as Python has them.
pub(crate) fn span(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}
