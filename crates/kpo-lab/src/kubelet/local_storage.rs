//! Local storage over its limit: the eviction manager measures volumes, pods and containers now and then (`localStorageEviction`).

use std::time::Duration;

use serde_json::Value;

use super::Kubelet;
use super::machine::PodOnMachine;
use super::worker::{KillOrder, Worker};
use crate::pod;
use crate::quantity::Quantity;
use crate::runtime::Runtime;
use crate::world::Cx;

/// How often it is measured (`evictionMonitoringPeriod`).
pub(super) const PERIOD: Duration = Duration::from_secs(10);

/// Whether the pod has a limit of local storage.
pub(super) fn is_limited(pod: &Value) -> bool {
    volume_limits(pod).next().is_some() || container_limits(pod).next().is_some()
}

/// The emptyDir volumes with a limit: name, the limit as written, in bytes.
fn volume_limits(pod: &Value) -> impl Iterator<Item = (&str, &str, u64)> {
    pod::list(&pod["spec"], "volumes").iter().filter_map(|volume| {
        let (limit, bytes) = limit_of(volume["emptyDir"].get("sizeLimit")?)?;
        Some((volume["name"].as_str()?, limit, bytes))
    })
}

/// The containers with a limit: name, the limit as written, in bytes.
fn container_limits(pod: &Value) -> impl Iterator<Item = (&str, &str, u64)> {
    pod::containers(pod).iter().filter_map(|container| {
        let (limit, bytes) = limit_of(container["resources"]["limits"].get("ephemeral-storage")?)?;
        Some((container["name"].as_str()?, limit, bytes))
    })
}

/// As written, and in bytes. None: there is none.
fn limit_of(limit: &Value) -> Option<(&str, u64)> {
    let bytes = u64::try_from(pod::milli(limit) / 1000).ok().filter(|bytes| *bytes > 0)?;
    Some((limit.as_str()?, bytes))
}

/// The limit of a volume as it is written.
pub(super) fn limit(pod: &Value, volume: &str) -> Option<String> {
    volume_limits(pod).find(|(name, ..)| *name == volume).map(|(_, limit, _)| limit.to_owned())
}

/// `emptyDirMessageFmt`; it ends with a space, as those below.
pub(super) fn message(volume: &str, limit: &str) -> String {
    format!("Usage of EmptyDir volume \"{volume}\" exceeds the limit \"{limit}\". ")
}

/// What a pod uses, as its node measures it.
struct Usage<'a> {
    pod: &'a Value,
    uid: &'a str,
    machine: &'a PodOnMachine,
    runtime: &'a dyn Runtime,
}

impl Usage<'_> {
    fn volume(&self, name: &str) -> u64 {
        self.runtime.volume_usage(self.uid, name).unwrap_or(0)
    }

    fn container(&self, name: &str) -> u64 {
        self.machine.latest(name).and_then(|instance| self.runtime.storage_usage(&instance.id)).unwrap_or(0)
    }

    /// All of it: containers, init containers and emptyDir volumes.
    fn whole(&self) -> u64 {
        let volumes = pod::list(&self.pod["spec"], "volumes").iter().filter(|volume| volume["emptyDir"].is_object());
        let volumes = volumes.filter_map(|volume| volume["name"].as_str()).map(|name| self.volume(name));
        volumes.sum::<u64>() + self.machine.instances.keys().map(|name| self.container(name)).sum::<u64>()
    }

    /// The first limit that is exceeded, in upstream's words: of a volume, of the pod, of a container.
    fn over(&self) -> Option<String> {
        let volume = volume_limits(self.pod).find(|(name, _, bytes)| self.volume(name) > *bytes);
        let volume = volume.map(|(name, limit, _)| message(name, limit));
        volume.or_else(|| self.over_as_a_whole()).or_else(|| {
            let (name, limit, _) = container_limits(self.pod).find(|(name, _, bytes)| self.container(name) > *bytes)?;
            Some(format!("Container {name} exceeded its local ephemeral storage limit \"{limit}\". "))
        })
    }

    fn over_as_a_whole(&self) -> Option<String> {
        let limits: Vec<(&str, &str, u64)> = container_limits(self.pod).collect();
        let total: u64 = limits.iter().map(|(_, _, bytes)| bytes).sum();
        let written = match limits.as_slice() {
            [] => return None,
            [(_, only, _)] => (*only).to_owned(),
            _ => Quantity::parse(&total.to_string()).map(|total| total.to_string()).unwrap_or_default(),
        };
        let message = format!("Pod ephemeral local storage usage exceeds the total limit of containers {written}. ");
        (self.whole() > total).then_some(message)
    }
}

impl Kubelet {
    pub(super) fn measure_local_storage(&mut self, cx: &mut Cx<'_>) {
        let watched = |worker: &&Worker| !worker.is_over() && worker.kill.is_none() && is_limited(&worker.pod);
        let watched: Vec<&Worker> = self.workers.values().filter(watched).collect();
        self.measure = (!watched.is_empty()).then(|| cx.now + PERIOD);
        let none = PodOnMachine::default();
        let over = watched.into_iter().filter_map(|worker| {
            let uid = worker.key.uid.as_str();
            let machine = self.machine.get(uid).unwrap_or(&none);
            let usage = Usage { pod: &worker.pod, uid, machine, runtime: &*cx.runtime };
            Some((uid.to_owned(), usage.over()?))
        });
        let over: Vec<(String, String)> = over.collect();
        for (uid, message) in over {
            let order = KillOrder { reason: "Evicted".into(), message, disruption: None, grace: Some(1) };
            self.kill(cx, &uid, order, true);
        }
    }
}
