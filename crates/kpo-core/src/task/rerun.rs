//! May it run again, and when.

use super::{State, Task};
use crate::contract::{Next, NoRerun};
use crate::outcome::AttemptRecord;
use crate::spec::{OnUnsignedDelete, Rerun, RerunPolicy};
use crate::verdict::{Cause, Class, Started, Verdict};
use std::time::Duration;

/// Seconds before the n-th rerun of a budget, then the last for ever (design rule 3).
const BACKOFF: [u64; 8] = [2, 4, 8, 16, 32, 60, 60, 60];

/// Which budget a rerun is taken from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Budget {
    NeverStarted,
    Started,
    Retries,
}

impl Budget {
    fn of(verdict: &Verdict) -> Option<Self> {
        match verdict.class {
            Class::Disrupted { started: Started::Never, .. } => Some(Budget::NeverStarted),
            Class::Disrupted { .. } => Some(Budget::Started),
            Class::Failed if verdict.reason.is_retriable() => Some(Budget::Retries),
            Class::Failed | Class::Succeeded | Class::LaunchFailed | Class::Cancelled => None,
        }
    }

    fn limit(self, rerun: &Rerun) -> u32 {
        match self {
            Budget::NeverStarted => rerun.never_started,
            Budget::Started => rerun.started,
            Budget::Retries => rerun.retries,
        }
    }
}

/// What policies forbid. `committed`: whether `until-commit` does, of a program that may have run.
fn forbidden(
    verdict: &Verdict,
    policy: RerunPolicy,
    unsigned: OnUnsignedDelete,
    committed: impl FnOnce() -> Option<NoRerun>,
) -> Option<NoRerun> {
    let Class::Disrupted { cause, started } = &verdict.class else { return None };
    if *cause == Cause::DeletedOutside && unsigned == OnUnsignedDelete::End {
        return Some(NoRerun::UnsignedDelete);
    }
    match (policy, started) {
        (RerunPolicy::Never, _) => Some(NoRerun::Policy),
        // It is only given up where the user asked for that, and took the risk.
        _ if *cause == Cause::Unreachable => None,
        (_, Started::Never) | (RerunPolicy::Idempotent, _) => None,
        (RerunPolicy::IfNotStarted, _) => Some(NoRerun::Policy),
        (RerunPolicy::UntilCommit, _) => committed(),
    }
}

/// Why the first attempt of a task with the default policies would not be run again after that verdict. `None`: it would be, where it was disrupted.
///
/// For pods that are nobody's of kpo's: what it would have done with them.
pub fn forbidden_by_default(verdict: &Verdict) -> Option<NoRerun> {
    forbidden(verdict, Rerun::default().policy, OnUnsignedDelete::default(), || Some(NoRerun::Policy))
}

impl Task {
    /// What follows the verdict on the current attempt.
    pub(super) fn next(&self, verdict: &Verdict) -> Next {
        let Some(budget) = Budget::of(verdict) else { return Next::End { why: None } };
        let (used, limit) = (self.state.used(budget), budget.limit(&self.state.spec.rerun));
        if budget == Budget::Retries && limit == 0 {
            return Next::End { why: None };
        }
        let exhausted = (used >= limit).then_some(NoRerun::Budget);
        if let Some(why) = self.forbids(verdict).or(exhausted) {
            return Next::End { why: Some(why) };
        }
        Next::Rerun { backoff: self.delay(used), left: limit - used - 1 }
    }

    /// What followed the verdict on the current attempt, now that a follower sees the next one. `rerun`: the active observer's.
    pub(super) fn next_seen(&self, verdict: &Verdict, rerun: &Rerun) -> Next {
        let budget = Budget::of(verdict);
        let used = budget.map_or(0, |budget| self.state.used(budget));
        let left = budget.map_or(0, |budget| budget.limit(rerun).saturating_sub(used + 1));
        Next::Rerun { backoff: self.delay(used), left }
    }

    /// What forbids a rerun, whatever the budget.
    fn forbids(&self, verdict: &Verdict) -> Option<NoRerun> {
        if self.state.stop.is_some() {
            return Some(NoRerun::Stopped);
        }
        if self.state.total_deadline().is_some_and(|end| end <= self.state.now) {
            return Some(NoRerun::Deadline);
        }
        if self.state.barred.is_some() {
            return self.state.barred;
        }
        let spec = &self.state.spec;
        forbidden(verdict, spec.rerun.policy, spec.on_unsigned_delete, || self.committed(verdict))
    }

    /// Under `until-commit` a started program may run again only if an attested terminal status shows no commit marker.
    fn committed(&self, verdict: &Verdict) -> Option<NoRerun> {
        match self.state.current.ledger.committed(&self.state.spec.template) {
            Some(false) if verdict.stopped => None,
            Some(true) => Some(NoRerun::Committed),
            _ => Some(NoRerun::Policy),
        }
    }

    /// Backoff with 0–20 % on top, spread by the nonce: the same task always waits the same, others do not wait with it. What else holds the
    /// next attempt is not in it ([`Hold`](super::hold::Hold)).
    pub(super) fn delay(&self, used: u32) -> Duration {
        let step = BACKOFF[(used as usize).min(BACKOFF.len() - 1)];
        let spread = spread(&self.state.spec.nonce, self.state.current.number);
        Duration::from_millis(step * 1000 + step * spread)
    }

    /// The backoff that the last verdict has brought, where it is not known how long ago that was.
    pub(super) fn last_delay(&self) -> Duration {
        let verdict = self.state.past.last().and_then(|attempt| attempt.verdict.as_ref());
        let used = verdict.and_then(|verdict| Budget::of(&verdict.verdict)).map(|budget| self.state.used(budget));
        used.map_or(Duration::ZERO, |used| self.delay(used.saturating_sub(1)))
    }

    /// Attempts possible at most, those made included.
    pub(super) fn at_most(&self) -> u32 {
        let rerun = &self.state.spec.rerun;
        let disrupted = match rerun.policy {
            RerunPolicy::Never => 0,
            RerunPolicy::IfNotStarted => rerun.never_started,
            RerunPolicy::UntilCommit | RerunPolicy::Idempotent => rerun.never_started.saturating_add(rerun.started),
        };
        disrupted.saturating_add(rerun.retries).saturating_add(1)
    }

    /// Nodes that have disrupted this task twice or more, the current attempt counted.
    pub(super) fn nodes_to_avoid(&self) -> Vec<String> {
        let mut nodes: Vec<&str> = self.state.past.iter().filter(disrupted).filter_map(node).collect();
        nodes.sort_unstable();
        let mut avoid: Vec<String> =
            nodes.chunk_by(|a, b| a == b).filter(|same| same.len() >= 2).map(|same| same[0].to_owned()).collect();
        avoid.dedup();
        avoid
    }
}

impl State {
    /// Reruns that a budget has paid for: one for each verdict of its kind but the current attempt's.
    fn used(&self, budget: Budget) -> u32 {
        let paid = self.past.iter().filter(|attempt| {
            attempt.verdict.as_ref().and_then(|verdict| Budget::of(&verdict.verdict)) == Some(budget)
        });
        u32::try_from(paid.count()).unwrap_or(u32::MAX)
    }
}

fn disrupted(attempt: &&AttemptRecord) -> bool {
    attempt.verdict.as_ref().is_some_and(|v| matches!(v.verdict.class, Class::Disrupted { .. }))
}

fn node(attempt: &AttemptRecord) -> Option<&str> {
    attempt.pod.node.as_deref()
}

/// Thousandths to add for each second of backoff: 0 to 200, from FNV-1a of nonce and attempt (no randomness in the core).
fn spread(nonce: &str, attempt: u32) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in nonce.bytes().chain(attempt.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash % 201
}
