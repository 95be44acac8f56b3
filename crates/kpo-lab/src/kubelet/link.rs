//! What happens to connections that are open to a kubelet while it falls silent, stops, or its machine goes.

use tokio::sync::watch;

use super::Health;

/// How open connections to a kubelet fare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    /// Whether anything comes through. Where not, nothing says so either: the connection is half open.
    heard: bool,
    /// How often its process has ended, which breaks what is open.
    breaks: u64,
}

/// A kubelet's end of its connections.
#[derive(Debug)]
pub(super) struct LinkEnd(watch::Sender<Link>);

impl LinkEnd {
    pub(super) fn new() -> LinkEnd {
        LinkEnd(watch::Sender::new(Link { heard: true, breaks: 0 }))
    }

    /// The kubelet is so from now on.
    pub(super) fn set(&self, health: Health) {
        self.0.send_modify(|link| {
            link.heard = matches!(health, Health::Up | Health::Down);
            link.breaks += u64::from(health == Health::Down);
        });
    }

    /// One more connection.
    pub(super) fn open(&self) -> Connection {
        let receiver = self.0.subscribe();
        let breaks = receiver.borrow().breaks;
        Connection { receiver, breaks }
    }
}

/// A connection that is open to a kubelet.
#[derive(Debug)]
pub struct Connection {
    receiver: watch::Receiver<Link>,
    /// As often it had been broken when this one was opened.
    breaks: u64,
}

impl Connection {
    /// Waits until something comes through. False: it has broken, or another machine has the address by now.
    pub(crate) async fn is_heard(&mut self) -> bool {
        let breaks = self.breaks;
        let settled = self.receiver.wait_for(|link| link.heard || link.breaks != breaks).await;
        settled.is_ok_and(|link| link.breaks == breaks)
    }

    /// Waits until something happens to it; for ever where nothing can any more.
    pub(crate) async fn changed(&mut self) {
        if self.receiver.changed().await.is_err() {
            std::future::pending().await
        }
    }
}
