//! The client-wide limit: requests a second, and requests in flight.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

/// How hard one process may press on the API server. All tasks of a process share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests a second, sustained. Default 50, as the kubelet's `kubeAPIQPS`; 0 lifts the limit.
    pub per_second: u32,
    /// Requests that may be sent at once after a pause. Default 100, as the kubelet's `kubeAPIBurst`. At least 1.
    pub burst: u32,
    /// Unary requests in flight. Default 32. A watch or a log follow counts only until its headers have come. At least 1.
    pub in_flight: usize,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { per_second: 50, burst: 100, in_flight: 32 }
    }
}

/// The limit at work: a token bucket kept as one instant (the generic cell rate algorithm, ITU-T I.371), and a semaphore.
#[derive(Debug)]
pub(super) struct Limiter {
    /// Time that one request costs; zero lifts the limit.
    interval: Duration,
    /// How far `next` may run ahead of the clock.
    tolerance: Duration,
    next: Mutex<Option<Instant>>,
    in_flight: Arc<Semaphore>,
}

impl Limiter {
    pub(super) fn new(limit: RateLimit) -> Self {
        let interval = match limit.per_second {
            0 => Duration::ZERO,
            per_second => Duration::from_secs(1) / per_second,
        };
        Self {
            interval,
            tolerance: interval * (limit.burst.max(1) - 1),
            next: Mutex::new(None),
            in_flight: Arc::new(Semaphore::new(limit.in_flight.max(1))),
        }
    }

    /// Waits for this request's turn in the rate; requests are served in the order in which they asked.
    pub(super) async fn turn(&self) {
        let at = self.reserve(Instant::now());
        sleep_until(at).await;
    }

    /// Waits for a slot in flight; it is free again when the permit is dropped.
    pub(super) async fn slot(&self) -> OwnedSemaphorePermit {
        let permit = Arc::clone(&self.in_flight).acquire_owned().await;
        permit.expect("the semaphore is never closed")
    }

    fn reserve(&self, now: Instant) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let arrival = next.map_or(now, |next| next.max(now));
        *next = Some(arrival + self.interval);
        // The bucket is empty as far as `arrival` is ahead of what the burst tolerates.
        arrival.checked_sub(self.tolerance).map_or(now, |at| at.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_at_once_and_then_the_rate_holds() {
        let limiter = Limiter::new(RateLimit { per_second: 10, burst: 3, in_flight: 1 });
        let start = Instant::now();
        let mut at = Vec::new();
        for _ in 0..6 {
            limiter.turn().await;
            at.push(start.elapsed().as_millis());
        }
        assert_eq!(at, [0, 0, 0, 100, 200, 300]);
        tokio::time::sleep(Duration::from_secs(5)).await;
        let later = Instant::now();
        for _ in 0..3 {
            limiter.turn().await;
        }
        assert_eq!(later.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn zero_lifts_the_rate() {
        let limiter = Limiter::new(RateLimit { per_second: 0, ..RateLimit::default() });
        let start = Instant::now();
        for _ in 0..1000 {
            limiter.turn().await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
