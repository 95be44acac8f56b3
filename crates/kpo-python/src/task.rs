//! A task under way.

use crate::asked::Asked;
use crate::client::{Client, FIRST_ANSWER, Open};
use crate::engine::{Engine, OfProcess};
use crate::errors::{Error, Kind};
use crate::job::{Job, span};
use crate::mailbox::Mailbox;
use crate::told::{Item, Teller, Wanted};
use kpo::body::Template;
use kpo::driver::{self, AttachRequest, Delivery, LogsRead, Running, Stopper, TaskRequest};
use kpo::manifest::{self, Source};
use kpo::request::Call;
use kpo_cli::{Role, Story};
use kpo_core::Stop;
use pyo3::prelude::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::task::AbortHandle;

/// A task under way: its events are waited for in a thread or in an event loop, and taken one by one. Dropped, it leaves the pod as it is.
#[pyclass(frozen, module = "kpo._kpo")]
pub(crate) struct Followed(OfProcess<Following>);

struct Following {
    engine: Mutex<Option<Arc<Engine>>>,
    mailbox: Mailbox<Item>,
    pump: AbortHandle,
    stopper: Stopper,
    delivery: Arc<Mutex<Option<Delivery>>>,
    task: String,
    namespace: String,
    container: String,
    nonce: String,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

/// Starts a task when it is taken from the job, and not before: a name that is taken, and a cluster that cannot be reached, are told first.
/// `namespace`: where neither the options nor the manifest name one; without, the connection's.
#[pyfunction]
#[pyo3(signature = (client, asked, namespace))]
pub(crate) fn start(client: &Client, asked: &str, namespace: Option<&str>) -> PyResult<Job> {
    let open = client.open()?;
    let asked = Asked::parse(asked)?;
    let manifest = asked.manifest()?;
    let request = asked.task(&manifest, namespace.unwrap_or_else(|| open.hook.default_namespace()))?;
    let hook = open.hook.clone();
    let spec = request.spec.clone();
    let asking = async move {
        match driver::in_use(&hook, &spec.namespace, &spec.task, Call::within(FIRST_ANSWER)).await? {
            Some(in_use) => Err(Error::in_use(&spec.task, &spec.namespace, &in_use)),
            None => Ok(driver::demand_protection(&hook, &spec, Call::within(FIRST_ANSWER)).await?),
        }
    };
    let wanted = Wanted::of(asked.logs);
    Ok(Job::start(Arc::clone(&open.engine), asking, move |py, ()| {
        let followed = {
            let _inside = open.engine.handle().enter();
            follow(run(&open, request)?, Role::Runs, &manifest.unused, wanted, &open.engine)
        };
        Ok(Py::new(py, followed)?.into_any())
    }))
}

fn run(open: &Open, request: TaskRequest) -> Result<Running, Error> {
    match open.watch(&request.spec.namespace) {
        None => Ok(driver::run(&open.hook, request)),
        Some(watch) => {
            let task = request.spec.task.clone();
            driver::run_beside(&open.hook, &watch, request).ok_or_else(|| twice(&task))
        }
    }
}

/// Attaches to a task: `manifest` is the one it was started with, where it was too large to travel with the pod. `over`: no other attempt is made. `read`: how
/// far logs were read, by UID and container.
#[pyfunction]
#[pyo3(signature = (client, task, *, namespace, take_over, manifest, logs, nonce, over, read))]
#[expect(clippy::too_many_arguments, reason = "each is a keyword of Python's, and read by its name")]
pub(crate) fn attach(
    client: &Client,
    task: String,
    namespace: Option<String>,
    take_over: bool,
    manifest: Option<String>,
    logs: Option<Vec<String>>,
    nonce: Option<String>,
    over: bool,
    read: ReadBefore,
) -> PyResult<Job> {
    let open = client.open()?;
    let namespace = namespace.unwrap_or_else(|| open.hook.default_namespace().to_owned());
    let template = manifest.map(template).transpose()?;
    let engine = Arc::clone(&open.engine);
    let (own, wanted) = (Arc::clone(&engine), Wanted::of(logs));
    let attaching = async move {
        let role = if take_over { Role::TakesOver } else { Role::Follows };
        let read = logs_read(read);
        let request = AttachRequest { task, namespace, take_over, template, nonce, over, read };
        let running = attached(&open, request).await?;
        Ok(follow(running, role, &[], wanted, &own))
    };
    Ok(Job::start(engine, attaching, |py, followed| Ok(Py::new(py, followed)?.into_any())))
}

/// How far logs were read, as Python has it.
type ReadBefore = BTreeMap<String, BTreeMap<String, (i64, u32, u32)>>;

fn logs_read(read: ReadBefore) -> LogsRead {
    let of_pod = |(uid, logs): (String, BTreeMap<String, (i64, u32, u32)>)| {
        logs.into_iter().map(move |(container, cursor)| ((uid.clone(), container), cursor.into()))
    };
    read.into_iter().flat_map(of_pod).collect()
}

async fn attached(open: &Open, request: AttachRequest) -> Result<Running, Error> {
    match open.watch(&request.namespace) {
        None => Ok(driver::attach(&open.hook, request).await?),
        Some(watch) => {
            let task = request.task.clone();
            driver::attach_beside(&open.hook, &watch, request).await?.ok_or_else(|| twice(&task))
        }
    }
}

fn twice(task: &str) -> Error {
    Error::new(Kind::TaskExists, format!("task {task} is watched over by this client already"))
}

fn template(text: String) -> Result<Template, Error> {
    let file = Some(Source { name: "the pod".to_owned(), text });
    let manifest = manifest::manifest(manifest::Request { file, ..Default::default() })?;
    Template::new(manifest.pod, true).map_err(|error| Error::new(Kind::Input, error.to_string()))
}

/// Hands the events on as Python takes them. To be called on the engine's thread, or inside of its runtime.
fn follow(mut running: Running, role: Role, unused: &[String], wanted: Wanted, engine: &Arc<Engine>) -> Followed {
    let mailbox = Mailbox::new();
    let delivery = Arc::new(Mutex::new(None));
    let (spec, stopper) = (running.spec().clone(), running.stopper());
    let mut teller = Teller::new(Story::new(&running, role), wanted, Arc::clone(&delivery));
    let (out, first) = (mailbox.clone(), Teller::unused(unused));
    let pump = engine.spawn(async move {
        if let Some(item) = first {
            out.put(item).await;
        }
        while let Some(event) = running.next().await {
            if let Some(item) = teller.tell(event) {
                out.put(item).await;
            }
        }
        out.close();
    });
    Followed(OfProcess::new(Following {
        engine: Mutex::new(Some(Arc::clone(engine))),
        mailbox,
        pump,
        stopper,
        delivery,
        task: spec.task,
        namespace: spec.namespace,
        container: spec.template.container,
        nonce: spec.nonce,
    }))
}

#[pymethods]
impl Followed {
    /// Waits until there is an event, or none comes any more, at most so many seconds. Whether it is so.
    fn wait(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        Ok(self.0.get()?.mailbox.wait(py, span(seconds)))
    }

    /// Has that called once, by any thread, when there is an event, or none comes any more.
    fn when_ready(&self, py: Python<'_>, waker: Py<PyAny>) -> PyResult<()> {
        self.0.get()?.mailbox.when_ready(py, waker);
        Ok(())
    }

    /// The next event: JSON, or what was logged. None: there is none now.
    fn take(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let item = self.0.get()?.mailbox.take();
        item.map(|item| item.object(py)).transpose()
    }

    /// Whether no event comes any more.
    fn is_over(&self) -> PyResult<bool> {
        Ok(self.0.get()?.mailbox.is_over())
    }

    /// Asks it to stop: the pod is deleted (`user`, `deadline`), or stays (`detach`).
    fn stop(&self, how: &str) -> PyResult<()> {
        let stop = match how {
            "detach" => Stop::Shutdown,
            "deadline" => Stop::Deadline,
            "user" => Stop::User,
            other => return Err(Error::new(Kind::Input, format!("{other:?} is no way to stop")).into()),
        };
        self.0.get()?.stopper.stop(stop);
        Ok(())
    }

    /// The outcome is taken for good: what is left of the task may be cleaned up.
    fn taken(&self) -> PyResult<()> {
        let delivery = self.0.get()?.delivery.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Its outcome was handed over with the event.
        drop(delivery.map(Delivery::taken));
        Ok(())
    }

    /// Leaves it, and the pod as it is.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let following = self.0.get()?;
        following.pump.abort();
        following.mailbox.close();
        let engine = following.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(engine) = engine {
            Engine::release(py, engine);
        }
        Ok(())
    }

    /// The task's id.
    #[getter]
    fn task(&self) -> PyResult<String> {
        Ok(self.0.get()?.task.clone())
    }

    #[getter]
    fn namespace(&self) -> PyResult<String> {
        Ok(self.0.get()?.namespace.clone())
    }

    /// The task's own container.
    #[getter]
    fn container(&self) -> PyResult<String> {
        Ok(self.0.get()?.container.clone())
    }

    /// What tells the task from others of the same id.
    #[getter]
    fn nonce(&self) -> PyResult<String> {
        Ok(self.0.get()?.nonce.clone())
    }
}
