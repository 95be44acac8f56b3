//! Connections that end at any byte of any answer: in a header, within an object, between two, in a watch and in a log alike.

use super::{Course, Kind, each, undisturbed};
use crate::Error;
use crate::cluster::Namespace;
use crate::proxy::{Asked, Fault};
use crate::{is_long, say};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How many seeds there are in the gate, and in the long run.
const SEEDS: (u64, u64) = (12, 200);
/// A storm cuts half of the requests, of those that are alike only so many of the first: more would show how long kpo waits between two
/// attempts, and nothing else.
const STORM: usize = 2;
/// The longest piece of an answer that a storm lets through.
const PIECE: u64 = 3000;

/// What a seed says: a few answers cut, or many of the first ones.
pub(super) enum Plan {
    Some(BTreeMap<Asked, Fault>),
    Storm(Mutex<Rng>),
}

impl Plan {
    /// Points among the requests of an undisturbed run.
    fn of(seed: u64, requests: &[(Asked, u64)]) -> Self {
        if seed.is_multiple_of(3) {
            return Self::storm(seed);
        }
        let mut rng = Rng::with_seed(seed);
        let count = rng.usize(1..=3);
        Self::Some((0..count).filter_map(|_| point(&mut rng, requests)).collect())
    }

    pub(super) fn storm(seed: u64) -> Self {
        Self::Storm(Mutex::new(Rng::with_seed(seed)))
    }

    pub(super) fn fault(&self, asked: &Asked) -> Fault {
        match self {
            Self::Some(faults) => faults.get(asked).copied().unwrap_or(Fault::Pass),
            Self::Storm(rng) => {
                let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
                if asked.nth > STORM || rng.bool() { Fault::Pass } else { cut(&mut rng, PIECE) }
            }
        }
    }
}

/// One request, the first of its kind or the one after, and where its answer ends.
fn point(rng: &mut Rng, requests: &[(Asked, u64)]) -> Option<(Asked, Fault)> {
    let (asked, bytes) = rng.choice(requests)?;
    let asked = Asked { nth: asked.nth + rng.usize(0..=1), ..asked.clone() };
    Some((asked, cut(rng, *bytes)))
}

fn cut(rng: &mut Rng, bytes: u64) -> Fault {
    if rng.u8(0..5) == 0 { Fault::Lose } else { Fault::Cut { after: rng.u64(0..=bytes), reset: rng.bool() } }
}

pub(in crate::bodies) async fn connections_cut(namespace: &Namespace<'_>) -> Result<(), Error> {
    let runs = undisturbed(namespace, &Course::ALL.map(Kind::from)).await?;
    let seeds = 1..=if is_long() { SEEDS.1 } else { SEEDS.0 };
    let cases = seeds.zip(runs.iter().cycle()).map(|(seed, (kind, _))| (*kind, seed));
    let befallen = AtomicUsize::new(0);
    each(namespace, "connections_cut", cases.collect(), async |case, seed| {
        let requests = runs.iter().find(|(kind, _)| *kind == case.kind).map(|(_, requests)| requests.as_slice());
        let plan = Plan::of(seed, requests.unwrap_or_default());
        befallen.fetch_add(case.survives(move |asked| plan.fault(asked)).await?, Ordering::Relaxed);
        Ok(())
    })
    .await?;
    let befallen = befallen.into_inner();
    say(&format!("             {befallen} answers were cut"));
    if befallen == 0 { Err("no connection was cut".into()) } else { Ok(()) }
}
