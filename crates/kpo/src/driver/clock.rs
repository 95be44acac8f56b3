//! UTC for the core: read once, then advanced by a clock that never goes back.

use crate::hook::KubernetesHook;
use kpo_core::Time;
use tokio::time::Instant;

/// The driver's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    began: Time,
    at: Instant,
}

impl Clock {
    /// Reads the hook's wall clock, once.
    pub(crate) fn start(hook: &KubernetesHook) -> Self {
        Self { began: hook.wall_clock(), at: Instant::now() }
    }

    /// Now.
    pub(crate) fn now(self) -> Time {
        self.began + self.at.elapsed()
    }

    /// That moment on tokio's clock; one that has passed is now.
    pub(crate) fn instant(self, time: Time) -> Instant {
        self.at + time.since(self.began)
    }
}
