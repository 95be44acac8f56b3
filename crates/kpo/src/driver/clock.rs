//! UTC for the core: read once, then advanced by a clock that never goes back.

use crate::request::RequestOptions;
use kpo_core::Time;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// The driver's clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    began: Time,
    at: Instant,
}

impl Clock {
    /// Reads the wall clock, once.
    pub(crate) fn start(options: &RequestOptions) -> Self {
        let now = options.wall_clock.as_ref().map_or_else(SystemTime::now, |clock| clock());
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { began: Time(0) + since, at: Instant::now() }
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
