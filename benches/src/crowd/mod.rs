//! Many tasks at once on simulated nodes (`cluster/kwok/stages.yaml`), a third of them preempted before they start, on a real control plane:
//! kpo in one process and in as many as there are tasks, beside what one would use without it.
//!
//! Requests are counted in the API server's audit log, bytes at the cluster's end of its network, and the time from a write to its being known
//! from the audit log's moment of receipt.

mod audit;
mod scene;
mod tasks;
mod ways;

use crate::process::between;
use crate::{Error, say};
use audit::{Audit, Heard};
use scene::Scene;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use ways::{WAYS, Way};

pub(crate) use tasks::run as tasks;

/// kubectl takes 50 MiB a process: of it there are not more at once.
const MOST_OF_KUBECTL: u64 = 100;

/// A cluster of `cluster/cluster`, by its folder.
struct World {
    folder: PathBuf,
    client: kube::Client,
}

/// What a way gave.
#[derive(Debug, Default)]
struct Given {
    /// When each task was known to have succeeded, by its name: nanoseconds since the epoch.
    known: BTreeMap<String, i64>,
    /// Largest resident sets of its processes, added up; 0 where it has none of its own.
    memory: u64,
    /// Time of a core.
    cpu: Duration,
}

/// Plays all ways, and prints the table; an error if a task was lost or a pod made too often.
pub(crate) async fn run(folder: &str, count: &str) -> Result<(), Error> {
    let count = count.parse::<u64>()?;
    let world = World::open(Path::new(folder)).await?;
    let mut lines = Vec::new();
    for way in WAYS {
        lines.push(one(&world, way, if way.is_heavy { count.min(MOST_OF_KUBECTL) } else { count }).await?);
    }
    say(&crate::machine::describe());
    say(
        "\n| | tasks | preempted | requests a task | KiB a task | CPU a task | memory | write → known p50 | p99 | all took |",
    );
    say(&format!("|{}", "---|".repeat(10)));
    lines.iter().for_each(|line| say(line));
    Ok(())
}

async fn one(world: &World, way: &Way, count: u64) -> Result<String, Error> {
    let began = std::time::Instant::now();
    let scene = Scene::set(world, way.name, count).await?;
    let audit = Audit::from_now(&world.folder)?;
    let (received, own) = (world.received()?, scene.own_bytes());
    let given = scene.play(way).await;
    let took = began.elapsed();
    let bytes = world.received()? - received - (scene.own_bytes() - own);
    let heard = audit.heard(&scene.namespace)?;
    // Whatever it came to: the next one needs an empty stage.
    scene.clear().await?;
    let given = given?;
    let again = heard.preempted.len();
    judge(way, &scene, &given, &heard)?;
    let is_own = |agent: &str| {
        way.agents.iter().any(|own| if own.is_empty() { agent.is_empty() } else { agent.starts_with(own) })
    };
    let requests = heard.by_agent.iter().filter(|(agent, _)| is_own(agent));
    let mut delays: Vec<Duration> =
        given.known.iter().filter_map(|(task, at)| Some(between(*heard.succeeded.get(task)?, *at))).collect();
    delays.sort();
    let at = |part: usize| delays.get(delays.len() * part / 100).copied().unwrap_or_default();
    let each = |sum: f64| sum / count as f64;
    Ok(format!(
        "| {} | {count} | {again} | {:.2} | {:.1} | {} | {} | {} | {} | {:.0} s |",
        way.title,
        each(requests.map(|(_, count)| *count as f64).sum()),
        each(bytes as f64) / 1024.0,
        if given.cpu.is_zero() { "".into() } else { format!("{:.1} ms", each(given.cpu.as_secs_f64() * 1e3)) },
        if given.memory == 0 { "".into() } else { format!("{:.1} MiB", given.memory as f64 / f64::from(1 << 20)) },
        millis(at(50)),
        millis(at(99)),
        took.as_secs_f64()
    ))
}

/// All ended as they should: each task succeeded, and only what was preempted was made again. (The scheduler may preempt one more than it has to.)
fn judge(way: &Way, scene: &Scene<'_>, given: &Given, heard: &Heard) -> Result<(), Error> {
    let (count, again, pods) = (scene.count, heard.preempted.len() as u64, heard.pods);
    if given.known.len() as u64 == count && again >= scene.victims() && pods == count + again {
        return Ok(());
    }
    let known = given.known.len();
    Err(format!(
        "{}: {known} of {count} tasks succeeded, with {pods} pods where {count} and {again} again were to be",
        way.title
    )
    .into())
}

fn millis(duration: Duration) -> String {
    format!("{:.0} ms", duration.as_secs_f64() * 1e3)
}

impl World {
    async fn open(folder: &Path) -> Result<Self, Error> {
        let read = kube::config::Kubeconfig::read_from(folder.join("admin.kubeconfig"))?;
        let config = kube::Config::from_custom_kubeconfig(read, &kube::config::KubeConfigOptions::default()).await?;
        Ok(Self { folder: folder.to_owned(), client: kube::Client::try_from(config)? })
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    /// Bytes that came from the cluster so far, whoever asked.
    fn received(&self) -> Result<u64, Error> {
        let name = std::fs::read_to_string(self.folder.join("network"))?;
        let path = format!("/sys/class/net/{}/statistics/rx_bytes", name.trim());
        Ok(std::fs::read_to_string(path)?.trim().parse()?)
    }
}
