//! When a failed request is sent again.

use std::{
    hash::{BuildHasher, Hasher},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Exponential waiting with a cap and up to a fifth more, so that many processes do not come back at the same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    /// The first wait. Default 500 ms.
    pub first: Duration,
    /// The longest wait. Default 30 s.
    pub longest: Duration,
    /// The longest `Retry-After` that is believed. Default 60 s: the API server asks for 1 s, proxies ask for anything.
    pub longest_retry_after: Duration,
    /// Where the jitter comes from.
    pub jitter: Jitter,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            longest_retry_after: Duration::from_secs(60),
            jitter: Jitter::random(),
        }
    }
}

impl Backoff {
    /// How long to wait after the `failures`th failure in a row (counted from 1). The server's wish is honoured up to the cap, and
    /// never shortens the wait to nothing.
    pub fn delay(&self, failures: u32, retry_after: Option<Duration>) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let own = doubled.min(self.longest);
        let base = match retry_after {
            Some(asked) => asked.min(self.longest_retry_after).max(self.first),
            None => own,
        };
        base + base.mul_f64(self.jitter.fraction() / 5.0)
    }
}

/// A seeded source of jitter; clones share it. splitmix64 (Steele, Lea, Flood 2014): spread, not secrecy, is wanted.
#[derive(Debug, Clone)]
pub struct Jitter(Option<Arc<Mutex<u64>>>);

impl Jitter {
    /// No jitter: delays are exact (tests).
    pub fn none() -> Self {
        Self(None)
    }

    /// Jitter from a seed: the same seed gives the same delays.
    pub fn seeded(seed: u64) -> Self {
        Self(Some(Arc::new(Mutex::new(seed))))
    }

    /// Jitter from a seed of the operating system.
    pub fn random() -> Self {
        Self::seeded(std::collections::hash_map::RandomState::new().build_hasher().finish())
    }

    /// The next number in `0.0 ..= 1.0`; 0 without jitter.
    fn fraction(&self) -> f64 {
        let Some(state) = &self.0 else { return 0.0 };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact() -> Backoff {
        Backoff { jitter: Jitter::none(), ..Backoff::default() }
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        let delays: Vec<_> = (1..=9).map(|n| exact().delay(n, None).as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
        assert_eq!(exact().delay(u32::MAX, None), Duration::from_secs(30));
    }

    #[test]
    fn retry_after_is_honoured_and_capped() {
        let delay = |asked| exact().delay(1, Some(Duration::from_secs(asked)));
        assert_eq!(delay(7), Duration::from_secs(7));
        assert_eq!(delay(86_400), Duration::from_secs(60));
        assert_eq!(delay(0), Duration::from_millis(500));
    }

    #[test]
    fn jitter_adds_at_most_a_fifth_and_repeats_with_its_seed() {
        let run = || {
            let backoff = Backoff { jitter: Jitter::seeded(7), ..Backoff::default() };
            (0..100).map(|_| backoff.delay(2, None)).collect::<Vec<_>>()
        };
        let delays = run();
        assert_eq!(delays, run());
        assert!(delays.iter().all(|d| (1000..=1200).contains(&d.as_millis())), "{delays:?}");
        assert!(delays.iter().min() != delays.iter().max());
    }
}
