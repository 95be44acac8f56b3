//! Random sequences of requests to the lab and to a real API server: what they answer, and what their watches show, is compared.
//!
//! Each difference is either a defect of the lab, or to be named in its LIMITS.md. The pods are never scheduled (`schedulerName: nobody`) or bound to a
//! node that there is not: no kubelet, and within the seconds of a sequence no controller, writes to them.

mod normal;
mod steps;
mod world;

use crate::target::Target;
use crate::{Error, say};
use serde_json::{Value, json};
use steps::{Step, steps, watches};
use world::World;

/// Sequences that run at once, each in a namespace of its own.
const AT_ONCE: usize = 4;
/// Plays that many sequences from a seed on; how many differed.
pub(crate) async fn differ(kpo: &str, kubeconfig: &str, count: &str, from: &str) -> Result<usize, Error> {
    let (count, from) = (count.parse::<u64>()?, from.parse::<u64>()?);
    let (lab, real) = (Target::open(kpo, "lab").await?, Target::open(kpo, kubeconfig).await?);
    let differed = all(&lab, &real, count, from).await;
    lab.close().await?;
    differed
}

async fn all(lab: &Target, real: &Target, count: u64, from: u64) -> Result<usize, Error> {
    let mut seeds = (from..from + count).collect::<Vec<_>>();
    seeds.reverse();
    let seeds = std::cell::RefCell::new(seeds);
    let workers = (0..AT_ONCE).map(|number| worker(lab, real, number, &seeds));
    let differed: usize = futures::future::try_join_all(workers).await?.into_iter().sum();
    say(&format!("{} and {}: {} sequences, {differed} differ", lab.name, real.name, count));
    Ok(differed)
}

async fn worker(
    lab: &Target,
    real: &Target,
    number: usize,
    seeds: &std::cell::RefCell<Vec<u64>>,
) -> Result<usize, Error> {
    let body = format!("differ-{number}");
    let (in_lab, in_real) = (crate::Namespace::create(lab, &body).await?, crate::Namespace::create(real, &body).await?);
    let mut differed = 0;
    loop {
        let Some(seed) = seeds.borrow_mut().pop() else { break };
        let (steps, watches) = (steps(seed), watches(seed));
        let mut worlds = (World::new(lab, &in_lab.name), World::new(real, &in_real.name));
        let ours = worlds.0.play(&steps, &watches).await.map_err(|error| format!("seed {seed}, lab: {error}"))?;
        let theirs = worlds.1.play(&steps, &watches).await.map_err(|error| format!("seed {seed}, cluster: {error}"))?;
        if let Some(difference) = first_difference(&steps, &ours, &theirs) {
            differed += 1;
            say(&format!("seed {seed}: {difference}"));
        }
    }
    in_lab.remove().await?;
    in_real.remove().await?;
    Ok(differed)
}

/// Where two transcripts part, for a person: the request, and the values that differ.
fn first_difference(steps: &[Step], ours: &[Value], theirs: &[Value]) -> Option<String> {
    for number in 0..ours.len().max(theirs.len()) {
        let (ours, theirs) = (ours.get(number), theirs.get(number));
        let mut found = Vec::new();
        compare("", ours.unwrap_or(&Value::Null), theirs.unwrap_or(&Value::Null), &mut found);
        if !found.is_empty() {
            return Some(format!("{}\n  {}", what(steps, number, theirs), found.join("\n  ")));
        }
    }
    None
}

fn what(steps: &[Step], number: usize, event: Option<&Value>) -> String {
    match steps.get(number) {
        Some(Step { method, path, content, body }) => format!("step {number}: {method} {path} {content} {body:?}"),
        None => {
            let event = event.unwrap_or(&Value::Null);
            let about = json!([event["type"], event["object"]["metadata"]["name"]]);
            format!("after the steps, number {}: {about}", number - steps.len())
        }
    }
}

fn compare(at: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                compare(&format!("{at}/{key}"), &ours[key], &theirs[key], found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (number, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{at}/{number}"), a, b, found);
            }
        }
        _ if ours == theirs => {}
        _ => found.push(format!("{at}: lab {ours}, cluster {theirs}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_makes_up_is_no_difference_and_all_else_is() {
        let world = |uid: &str, version: &str, label: &str| {
            let mut names = normal::Names::default();
            let pod = json!({"metadata": {"uid": uid, "resourceVersion": version, "labels": {"app": label},
                "creationTimestamp": "2026-11-26T22:00:00Z"}});
            let said = json!({"message": format!("the UID {uid} and the version {version} do not match")});
            vec![names.same(&pod), names.same(&said)]
        };
        let ours = world("0f9c-1", "17", "x");
        assert_eq!(first_difference(&[], &ours, &world("77aa-2", "90210", "x")), None);
        let found = first_difference(&[], &ours, &world("77aa-2", "90210", "y")).expect("another label");
        assert!(found.contains("/metadata/labels/app: lab \"x\", cluster \"y\""), "{found}");
    }

    #[test]
    fn a_seed_is_the_same_sequence_each_time() {
        let told = |seed| format!("{:?} {:?}", steps(seed), watches(seed));
        assert_eq!(told(7), told(7));
        assert_ne!(told(7), told(8));
    }
}
