//! Local storage over its limit: the eviction manager measures volumes now and then (`localStorageEviction`).

use std::time::Duration;

use serde_json::Value;

use super::Kubelet;
use super::worker::KillOrder;
use crate::pod;
use crate::world::Cx;

/// How often volumes are measured (`evictionMonitoringPeriod`).
pub(super) const PERIOD: Duration = Duration::from_secs(10);

/// Whether the pod has a volume with a limit.
pub(super) fn is_limited(pod: &Value) -> bool {
    limits(pod).next().is_some()
}

/// The emptyDir volumes with a limit: name, the limit as written, in bytes.
fn limits(pod: &Value) -> impl Iterator<Item = (&str, &str, u64)> {
    pod::list(&pod["spec"], "volumes").iter().filter_map(|volume| {
        let limit = volume["emptyDir"].get("sizeLimit")?;
        let bytes = u64::try_from(pod::milli(limit) / 1000).ok().filter(|bytes| *bytes > 0)?;
        Some((volume["name"].as_str()?, limit.as_str()?, bytes))
    })
}

/// The limit of a volume as it is written.
pub(super) fn limit(pod: &Value, volume: &str) -> Option<String> {
    limits(pod).find(|(name, ..)| *name == volume).map(|(_, limit, _)| limit.to_owned())
}

/// `localStorageEviction`'s sentence; it ends with a space.
pub(super) fn message(volume: &str, limit: &str) -> String {
    format!("Usage of EmptyDir volume \"{volume}\" exceeds the limit \"{limit}\". ")
}

impl Kubelet {
    pub(super) fn measure_local_storage(&mut self, cx: &mut Cx<'_>) {
        let mut left = false;
        let mut over: Vec<(String, String)> = Vec::new();
        for worker in self.workers.values().filter(|worker| !worker.is_over() && worker.kill.is_none()) {
            for (name, limit, bytes) in limits(&worker.pod) {
                left = true;
                let used = cx.runtime.volume_usage(&worker.key.uid, name).unwrap_or(0);
                if used > bytes {
                    over.push((worker.key.uid.clone(), message(name, limit)));
                    break;
                }
            }
        }
        self.measure = left.then(|| cx.now + PERIOD);
        for (uid, message) in over {
            let order = KillOrder { reason: "Evicted".into(), message, disruption: None, grace: Some(1) };
            self.kill(cx, &uid, order, true);
        }
    }
}
