//! From tokio's clock to UTC, so that a paused clock is the cluster's clock too.

use std::time::Duration;

use tokio::time::Instant;

use crate::time::Time;

/// A cluster's clock: an instant in UTC plus what tokio's clock has run since.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Time,
    origin: Instant,
}

impl Clock {
    /// A clock that shows `base` now.
    pub fn starting_at(base: Time) -> Clock {
        Clock { base, origin: Instant::now() }
    }

    /// What the clock shows.
    pub fn now(&self) -> Time {
        self.base + self.origin.elapsed()
    }

    /// tokio's instant of a time; the origin for times before it.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        // A timer further away than a year would be out of tokio's range; nobody waits that long.
        self.origin + time.since(self.base).min(Duration::from_secs(365 * 86_400))
    }

    /// Sleeps until the clock shows `time`; for ever for None.
    pub(crate) async fn sleep_until(&self, time: Option<Time>) {
        match time {
            Some(time) => tokio::time::sleep_until(self.instant(time)).await,
            None => std::future::pending().await,
        }
    }
}
