//! The pods a driver sees: their watches, and the last sight of each.

use crate::manager::PodManager;
use crate::watch::{Observation, PodVersion, Subscription, Watch, WatchOptions};
use futures::future::BoxFuture;
use kpo_core::pod::{Metadata, PodStatus};
use kpo_core::{Pod, marks};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// Where sights come from.
pub(super) enum Eyes {
    /// One watch a pod, by name: the newest last. A predecessor's stays as long as the pod may still be there.
    Own(Vec<Subscription>),
    /// A share of one watch on the namespace; and one by name for a pod that lost its label, and with it that watch's sight.
    Shared(Subscription, Option<Subscription>),
}

impl Eyes {
    /// Until it will be seen what becomes of a pod that is created now, or it is known that it may be missed. A watch of its own begins behind
    /// the create.
    pub(super) fn said(&self) -> BoxFuture<'static, ()> {
        match self {
            Eyes::Own(_) => Box::pin(std::future::ready(())),
            Eyes::Shared(subscription, _) => Box::pin(subscription.said()),
        }
    }

    /// Relists of a shared watch that are complete.
    pub(super) fn relists(&self) -> u64 {
        match self {
            Eyes::Own(_) => 0,
            Eyes::Shared(subscription, _) => subscription.relists(),
        }
    }

    /// From a pod's create on, which was sent when so many relists were complete, it is seen.
    pub(super) fn look_at(&mut self, pods: &PodManager, pod: &PodVersion, relists: u64) {
        match self {
            Eyes::Own(watches) => {
                // The one before the last is long gone: a successor was only made when it had ended.
                let old = watches.len().saturating_sub(1);
                watches.drain(..old);
                watches.push(Watch::pod(
                    pods.requests().clone(),
                    pods.namespace(),
                    pod,
                    WatchOptions::of(pods.requests()),
                ));
            }
            Eyes::Shared(subscription, _) => subscription.expect_since(relists, pod),
        }
    }

    /// A read found a pod that no longer has the task's label: from there on it is seen by its name.
    pub(super) fn look_at_stray(&mut self, pods: &PodManager, pod: &PodVersion) {
        if let Eyes::Shared(_, stray) = self {
            *stray =
                Some(Watch::pod(pods.requests().clone(), pods.namespace(), pod, WatchOptions::of(pods.requests())));
        }
    }

    /// The next observation. Cancel safe. A gap in a predecessor's watch is nobody's business.
    pub(super) async fn next(&mut self) -> Option<Observation> {
        match self {
            Eyes::Shared(all, None) => all.next().await,
            Eyes::Shared(all, Some(stray)) => tokio::select! {
                seen = stray.next() => seen,
                seen = all.next() => seen,
            },
            Eyes::Own(watches) => match watches.as_mut_slice() {
                [] => std::future::pending().await,
                [only] => only.next().await,
                [before, newest, ..] => loop {
                    tokio::select! {
                        biased;
                        seen = newest.next() => return seen,
                        seen = before.next() => if let Some(Observation::Seen { .. } | Observation::Absent { .. }) = seen {
                            return seen;
                        }
                    }
                },
            },
        }
    }
}

/// The last sight of each pod, for those who wait for a change (a result that a sidecar hands over).
#[derive(Default)]
pub(super) struct LastSights(BTreeMap<String, watch::Sender<Sight>>);

/// A pod as last seen, and whether it was its end.
#[derive(Clone, Default)]
pub(crate) struct Sight {
    /// The pod. `None`: not seen yet.
    pub(crate) pod: Option<Arc<Pod>>,
    /// Whether a DELETED showed it, or it was missing: its watch shows no more of it. It may only have lost its label.
    pub(crate) last: bool,
    /// The observer's mark that the pod carried.
    pub(crate) mark: Option<String>,
}

impl LastSights {
    pub(super) fn saw(&mut self, pod: &Pod, last: bool) {
        let mark = pod.metadata.annotations.get(marks::OBSERVER).cloned();
        let sight = Sight { pod: Some(Arc::new(needed(pod))), last, mark };
        match self.0.get(&pod.metadata.uid) {
            Some(sender) => {
                sender.send_replace(sight);
            }
            None => {
                self.0.insert(pod.metadata.uid.clone(), watch::Sender::new(sight));
            }
        }
    }

    pub(super) fn of(&mut self, uid: &str) -> watch::Receiver<Sight> {
        self.0.entry(uid.to_owned()).or_insert_with(|| watch::Sender::new(Sight::default())).subscribe()
    }

    /// Nothing more will be seen of that pod.
    pub(super) fn lost(&mut self, uid: &str) {
        if let Some(sender) = self.0.get(uid) {
            sender.send_modify(|sight| sight.last = true);
        }
    }
}

/// The sight's identity, its spec, and how its containers are. It is kept for as long as the task waits, and the core keeps what it needs itself.
fn needed(pod: &Pod) -> Pod {
    let seen = &pod.metadata;
    let metadata = Metadata {
        name: seen.name.clone(),
        namespace: seen.namespace.clone(),
        uid: seen.uid.clone(),
        resource_version: seen.resource_version.clone(),
        ..Metadata::default()
    };
    let status = PodStatus { conditions: Vec::new(), ..pod.status.clone() };
    Pod { metadata, spec: pod.spec.clone(), status }
}
