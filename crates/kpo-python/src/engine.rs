//! The engine's thread: a tokio runtime that everything of this process shares, as long as anything of it is in use.
//!
//! After a fork the child has none of its parent's threads: what was made before is of no use there, and must not be touched, not even to
//! drop it. Each object knows the process that made it.

use crate::errors::{Error, Kind};
use pyo3::prelude::*;
use std::future::Future;
use std::mem::{ManuallyDrop, forget};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

/// How long a thread that waits for the network, or for a credential plugin, may hold up the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// A value that belongs to the process that made it. In a child of that it is neither given out nor dropped.
pub(crate) struct OfProcess<T> {
    value: ManuallyDrop<T>,
    process: u32,
}

impl<T> OfProcess<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: ManuallyDrop::new(value), process: std::process::id() }
    }

    fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }

    /// The value, where it was made.
    pub(crate) fn get(&self) -> Result<&T, Error> {
        let forked = || Error::new(Kind::Forked, "it was made before this process was forked off: make another here");
        self.is_ours().then_some(&*self.value).ok_or_else(forked)
    }
}

impl<T> Drop for OfProcess<T> {
    fn drop(&mut self) {
        if self.is_ours() {
            #[allow(unsafe_code)]
            // SAFETY: it is dropped here and nowhere else, and self is not used any more.
            unsafe {
                ManuallyDrop::drop(&mut self.value);
            }
        }
    }
}

/// A runtime on a thread of its own. Dropping it ends it, without waiting for that.
pub(crate) struct Engine {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    process: u32,
}

/// The one that is shared. Only locked where Python is attached, and so never by another thread while this one forks.
static SHARED: Mutex<Weak<Engine>> = Mutex::new(Weak::new());

impl Engine {
    /// The process's own; one is started where there is none.
    pub(crate) fn shared(_attached: Python<'_>) -> Result<Arc<Self>, Error> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = shared.upgrade() {
            if engine.process == std::process::id() {
                return Ok(engine);
            }
            // The parent's: it must not be dropped here, were this its last user.
            forget(engine);
        }
        let engine = Arc::new(Self::start("kpo")?);
        *shared = Arc::downgrade(&engine);
        Ok(engine)
    }

    /// One of its own.
    pub(crate) fn start(name: &str) -> Result<Self, Error> {
        let unable = |error: std::io::Error| Error::new(Kind::Local, format!("the engine cannot start: {error}"));
        let blocking = format!("{name}-waits");
        let runtime = Builder::new_current_thread().enable_all().thread_name(blocking).build().map_err(unable)?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            // Its sender was dropped: that is a stop, too.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(PATIENCE);
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(unable)?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread), process: std::process::id() })
    }

    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.handle.spawn(future).abort_handle()
    }

    /// For what wants a runtime around it.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends it and waits for its thread, where nobody else uses it.
    pub(crate) fn release(py: Python<'_>, engine: Arc<Self>) {
        if let Some(engine) = Arc::into_inner(engine) {
            engine.end(py);
        }
    }

    /// Ends it and waits for its thread, which may want to attach to Python meanwhile.
    pub(crate) fn end(mut self, py: Python<'_>) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so.
            py.detach(|| drop(thread.join()));
        }
    }
}
