//! Random sequences of requests to the lab and to a real API server: what they answer, and what their watches show, is compared.
//!
//! Each difference is either a defect of the lab, or forgiven by a named rule of `normal.rs` that its LIMITS.md lists. The pods are never
//! scheduled (`schedulerName: nobody`) or bound to a node that there is not, so that no kubelet writes to them. The cluster's controllers may (they look
//! every 20 to 40 s), and its caches may lag: what differs is played again, and counts if it differs each time.

mod normal;
mod seeds;
mod steps;
mod world;

use crate::target::Target;
use crate::{Error, say};
use seeds::SEEDS;
use serde_json::{Value, json};
use steps::{Step, steps, watches};
use world::World;

/// Sequences that run at once, each in a namespace of its own.
const AT_ONCE: usize = 4;
/// How often a sequence that differs, or that a busy machine breaks off, is played.
const PLAYS: usize = 3;

/// Plays those that each stand for a kind of difference there once was, then that many sequences from a seed on; how many differed. One
/// alone is told in full.
pub(crate) async fn differ(kpo: &str, kubeconfig: &str, count: &str, from: &str) -> Result<usize, Error> {
    let (count, from) = (count.parse::<u64>()?, from.parse::<u64>()?);
    let (lab, real) = (Target::open(kpo, "lab").await?, Target::open(kpo, kubeconfig).await?);
    let differed = if count == 1 { alone(&lab, &real, from).await } else { all(&lab, &real, count, from).await };
    lab.close().await?;
    differed
}

async fn all(lab: &Target, real: &Target, count: u64, from: u64) -> Result<usize, Error> {
    let known = SEEDS.iter().map(|(seed, _)| *seed);
    let mut seeds = known
        .clone()
        .chain((from..from + count).filter(|seed| known.clone().all(|known| known != *seed)))
        .collect::<Vec<_>>();
    let played = seeds.len();
    seeds.reverse();
    let seeds = std::cell::RefCell::new(seeds);
    let workers = (0..AT_ONCE).map(|number| worker(lab, real, number, &seeds));
    let differed: usize = futures::future::try_join_all(workers).await?.into_iter().sum();
    say(&format!("{} and {}: {played} sequences, {differed} differ", lab.name, real.name));
    Ok(differed)
}

/// A namespace in each world.
struct Both<'a> {
    lab: crate::Namespace<'a>,
    real: crate::Namespace<'a>,
}

impl<'a> Both<'a> {
    async fn create(lab: &'a Target, real: &'a Target, number: usize) -> Result<Self, Error> {
        let name = format!("kpo-differ-{number}-{:x}", std::process::id());
        Ok(Self { lab: crate::Namespace::named(lab, &name).await?, real: crate::Namespace::named(real, &name).await? })
    }

    async fn remove(&self) -> Result<(), Error> {
        self.lab.undo_all().await?;
        self.real.undo_all().await
    }

    /// Takes away what a sequence has left that was broken off.
    async fn clean(&self) -> Result<(), Error> {
        World::of(&self.lab).clean().await?;
        World::of(&self.real).clean().await
    }

    /// The two transcripts of a sequence.
    async fn play(&self, seed: u64) -> Result<(Vec<Value>, Vec<Value>), Error> {
        let (steps, watches) = (steps(seed), watches(seed));
        let mut worlds = (World::of(&self.lab), World::of(&self.real));
        let ours = worlds.0.play(&steps, &watches).await.map_err(|error| format!("seed {seed}, lab: {error}"))?;
        let theirs = worlds.1.play(&steps, &watches).await.map_err(|error| format!("seed {seed}, cluster: {error}"))?;
        Ok((ours, theirs))
    }

    /// What differs of a sequence each time that it is played; none if it is the same once.
    async fn difference(&self, seed: u64) -> Result<Option<String>, Error> {
        let mut found = None;
        for play in 1..=PLAYS {
            let difference = match self.play(seed).await {
                Ok((ours, theirs)) => first_difference(&steps(seed), &ours, &theirs),
                Err(error) if play == PLAYS => return Err(error),
                Err(error) => {
                    self.clean().await?;
                    Some(error.to_string())
                }
            };
            if let (None, Some(before)) = (&difference, &found) {
                say(&format!("seed {seed}: the same when played {play} times; before: {before}"));
            }
            found = difference;
            if found.is_none() {
                break;
            }
        }
        Ok(found)
    }
}

async fn worker(
    lab: &Target,
    real: &Target,
    number: usize,
    seeds: &std::cell::RefCell<Vec<u64>>,
) -> Result<usize, Error> {
    let both = Both::create(lab, real, number).await?;
    let mut differed = 0;
    loop {
        let Some(seed) = seeds.borrow_mut().pop() else { break };
        if let Some(difference) = both.difference(seed).await? {
            differed += 1;
            say(&format!("seed {seed}: {difference}\n  to be told all of it: cargo xtask differ 1 {seed}"));
        }
    }
    both.remove().await?;
    Ok(differed)
}

/// One sequence with all that was asked, answered and seen.
async fn alone(lab: &Target, real: &Target, seed: u64) -> Result<usize, Error> {
    let both = Both::create(lab, real, 0).await?;
    let (ours, theirs) = both.play(seed).await?;
    both.remove().await?;
    say(&format!("seed {seed}; the watches: {:?}", watches(seed)));
    let steps = steps(seed);
    for number in 0..ours.len().max(theirs.len()) {
        let (ours, theirs) = (ours.get(number), theirs.get(number));
        say(&what(&steps, number, theirs));
        match differences(ours, theirs).as_slice() {
            [] => say(&format!("  both: {}", theirs.unwrap_or(&Value::Null))),
            found => say(&format!("  they differ:\n  {}", found.join("\n  "))),
        }
    }
    let differs = first_difference(&steps, &ours, &theirs).is_some();
    say(&format!("{} and {}: {}", lab.name, real.name, if differs { "they differ" } else { "the same" }));
    Ok(usize::from(differs))
}

/// Where two transcripts part, for a person: the request, and the values that differ.
fn first_difference(steps: &[Step], ours: &[Value], theirs: &[Value]) -> Option<String> {
    for number in 0..ours.len().max(theirs.len()) {
        let (ours, theirs) = (ours.get(number), theirs.get(number));
        let found = differences(ours, theirs);
        if !found.is_empty() {
            return Some(format!("{}\n  {}", what(steps, number, theirs), found.join("\n  ")));
        }
    }
    None
}

fn differences(ours: Option<&Value>, theirs: Option<&Value>) -> Vec<String> {
    let mut found = Vec::new();
    compare("", ours.unwrap_or(&Value::Null), theirs.unwrap_or(&Value::Null), &mut found);
    found
}

fn what(steps: &[Step], number: usize, event: Option<&Value>) -> String {
    match steps.get(number) {
        Some(step) => format!("step {number}: {step}"),
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
