//! How long a kubelet's work takes.

use std::time::Duration;

use crate::time::Time;

/// How long the steps of a kubelet take; all of it virtual or waited, nothing is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From a pod's binding to its first status.
    pub notice: Duration,
    /// Setting up volumes.
    pub mount: Duration,
    /// Making the sandbox.
    pub sandbox: Duration,
    /// Starting one container.
    pub start: Duration,
    /// Taking the sandbox down, once the containers have stopped.
    pub stop: Duration,
    /// How often the kubelet looks at its containers (upstream: 1 s, `plegRelistPeriod`): what happens in between is seen as one.
    pub relist: Duration,
    /// After how long a failed sync is tried again (`backOffPeriod`).
    pub retry: Duration,
}

impl Timing {
    /// The default: so that a task of no length takes a tenth of a second.
    pub const QUICK: Timing = Timing {
        notice: Duration::from_millis(2),
        mount: Duration::ZERO,
        sandbox: Duration::from_millis(4),
        start: Duration::from_millis(2),
        stop: Duration::from_millis(2),
        relist: Duration::from_millis(20),
        retry: Duration::from_secs(10),
    };

    /// As upstream's kubelet was seen to take (recordings, v1.34.4).
    pub const UPSTREAM: Timing = Timing {
        notice: Duration::from_millis(15),
        mount: Duration::from_millis(250),
        sandbox: Duration::from_millis(200),
        start: Duration::from_millis(100),
        stop: Duration::from_millis(300),
        relist: Duration::from_secs(1),
        retry: Duration::from_secs(10),
    };

    /// The last look at or before `now`, for a kubelet that has looked since `origin`.
    pub(super) fn last_look(&self, origin: Time, now: Time) -> Time {
        let period = i64::try_from(self.relist.as_nanos()).unwrap_or(i64::MAX).max(1);
        Time(now.0 - (now.0 - origin.0).rem_euclid(period))
    }

    /// The first look after `now`.
    pub(super) fn next_look(&self, origin: Time, now: Time) -> Time {
        self.last_look(origin, now) + self.relist.max(Duration::from_nanos(1))
    }
}

impl Default for Timing {
    fn default() -> Timing {
        Timing::QUICK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_on_a_grid() {
        let (timing, origin) = (Timing::UPSTREAM, Time(500_000_000));
        assert_eq!(timing.last_look(origin, Time::from_secs(3)), Time(2_500_000_000));
        assert_eq!(timing.next_look(origin, Time::from_secs(3)), Time(3_500_000_000));
        assert_eq!(timing.next_look(origin, Time(3_500_000_000)), Time(4_500_000_000));
    }
}
