//! From the engine's thread to Python: things that arrive, and somebody who waits for them, in a thread or in an event loop.

use pyo3::prelude::*;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Things that wait for Python, at most: a slow reader slows the logs, and not the task.
const ROOM: usize = 4;

/// Clones are the same one.
pub(crate) struct Mailbox<T>(Arc<Shared<T>>);

struct Shared<T> {
    inbox: Mutex<Inbox<T>>,
    arrived: Condvar,
    room: Notify,
}

struct Inbox<T> {
    things: VecDeque<T>,
    closed: bool,
    /// Called once when there is something to take.
    waker: Option<Py<PyAny>>,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Inbox<T> {
    /// Whether who asks need not wait: there is something, or nothing more comes.
    fn is_ready(&self) -> bool {
        self.closed || !self.things.is_empty()
    }
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        let inbox = Inbox { things: VecDeque::new(), closed: false, waker: None };
        Self(Arc::new(Shared { inbox: Mutex::new(inbox), arrived: Condvar::new(), room: Notify::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, Inbox<T>> {
        self.0.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something in, when there is room.
    pub(crate) async fn put(&self, thing: T) {
        while self.lock().things.len() >= ROOM {
            self.0.room.notified().await;
        }
        self.change(|inbox| inbox.things.push_back(thing));
    }

    /// Nothing more comes.
    pub(crate) fn close(&self) {
        self.change(|inbox| inbox.closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut Inbox<T>)) {
        let waker = {
            let mut inbox = self.lock();
            change(&mut inbox);
            inbox.waker.take()
        };
        self.0.arrived.notify_all();
        if let Some(waker) = waker {
            // Where the interpreter is on its way out nobody waits any more.
            Python::try_attach(|py| call(py, &waker));
        }
    }

    /// Waits until there is something, or nothing more comes; at most so long. Whether it is so.
    pub(crate) fn wait(&self, py: Python<'_>, at_most: Duration) -> bool
    where
        T: Send,
    {
        py.detach(|| {
            let waiting = self.0.arrived.wait_timeout_while(self.lock(), at_most, |inbox| !inbox.is_ready());
            waiting.unwrap_or_else(PoisonError::into_inner).0.is_ready()
        })
    }

    /// Has that called once when there is something, or nothing more comes: at once, if that is so.
    pub(crate) fn when_ready(&self, py: Python<'_>, waker: Py<PyAny>) {
        let mut inbox = self.lock();
        let at_once = inbox.is_ready();
        // Who waited before is dropped when the lock is free: that may run Python.
        let _before = if at_once { None } else { inbox.waker.replace(waker.clone_ref(py)) };
        drop(inbox);
        if at_once {
            call(py, &waker);
        }
    }

    /// What came first. `None`: nothing is there.
    pub(crate) fn take(&self) -> Option<T> {
        let thing = self.lock().things.pop_front();
        self.0.room.notify_one();
        thing
    }

    /// Whether nothing more comes, and all was taken.
    pub(crate) fn is_over(&self) -> bool {
        let inbox = self.lock();
        inbox.closed && inbox.things.is_empty()
    }
}

/// What it raises is told as Python tells what it cannot raise.
fn call(py: Python<'_>, waker: &Py<PyAny>) {
    if let Err(error) = waker.call0(py) {
        error.write_unraisable(py, Some(waker.bind(py)));
    }
}
