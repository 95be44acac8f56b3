//! Pods of tasks that nobody in this process follows, as a shared watch shows them: what is due is removed.

use super::clock::Clock;
use crate::manager::PodManager;
use crate::request::Call;
use crate::watch::{Observation, Sighting, Unclaimed, Watch};
use kpo_core::sweep::{self, Due};
use kpo_core::{Pod, Time};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Kept pods that are remembered until they are due, at most: `kpo sweep` finds the others.
const REMEMBERED: usize = 1_000;
/// It is nobody's task: what cannot be done in this time is left to the next one who sees it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sweeps for as long as the watch lives; one a watch.
struct Sweeper {
    pods: PodManager,
    unclaimed: Unclaimed,
    clock: Clock,
    /// By UID.
    kept: BTreeMap<String, (Time, Due, Arc<Pod>)>,
}

/// Starts to sweep what a watch shows, unless that is done already.
pub(super) fn start(pods: &PodManager, watch: &Watch, clock: Clock) {
    if let Some(unclaimed) = watch.unclaimed() {
        let sweeper = Sweeper { pods: pods.clone(), unclaimed, clock, kept: BTreeMap::new() };
        tokio::spawn(sweeper.run());
    }
}

impl Sweeper {
    async fn run(mut self) {
        loop {
            let next = self.kept.values().map(|(at, ..)| *at).min().map(|at| self.clock.instant(at));
            let due = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                seen = self.unclaimed.next() => match seen {
                    Some(Observation::Seen { sighting, pod }) => self.seen(sighting, pod),
                    Some(_) => {}
                    None => return,
                },
                () = due => self.sweep().await,
            }
        }
    }

    fn seen(&mut self, sighting: Sighting, pod: Arc<Pod>) {
        let uid = pod.metadata.uid.clone();
        match sweep::due(&pod).filter(|_| sighting != Sighting::Deleted) {
            Some((at, due)) if self.kept.len() < REMEMBERED || self.kept.contains_key(&uid) => {
                self.kept.insert(uid, (at, due, pod));
            }
            _ => drop(self.kept.remove(&uid)),
        }
    }

    /// Removes one pod that is due. Whoever sees it too may have been faster, and the right to delete may be missing: neither is a task's trouble.
    async fn sweep(&mut self) {
        let now = self.clock.now();
        let due = self.kept.iter().find(|(_, (at, ..))| *at <= now).map(|(uid, _)| uid.clone());
        let Some((_, due, pod)) = due.and_then(|uid| self.kept.remove(&uid)) else { return };
        let (name, done) = (&pod.metadata.name, self.pods.sweep(&pod, due, Call::within(PATIENCE)).await);
        tracing::debug!(target: "kpo::sweep", %name, ?due, ?done, "a pod that was kept long enough");
    }
}
