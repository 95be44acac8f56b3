//! Random requests about a handful of pods: what a client of an API server may ask, and what it may get wrong.

mod pods;
mod reads;
mod writes;

pub(super) use reads::watches;

use fastrand::Rng;
use serde_json::{Value, json};

/// Names of the pods that a sequence is about.
const NAMES: [&str; 3] = ["a", "b", "c"];
/// A node that there is not: what is bound to it nobody touches, and it is deleted with a grace.
const NODE: &str = "ghost";
/// A UID that no pod has.
const OTHER_UID: &str = "00000000-0000-4000-8000-000000000000";

/// A request. What begins with `$` is filled in by each world from what it saw: in a body `$uid`, `$version`, `$first-version` of the pod, and `$now`;
/// in a path `$began` (the version before the first step), `$list` (the last list's), `$continue` (its token).
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) method: &'static str,
    /// Below the namespace.
    pub(super) path: String,
    pub(super) content: &'static str,
    pub(super) body: Body,
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    None,
    Given(Value),
    /// The pod of that name as it was seen last, with this merged into it.
    Seen(String, Value),
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = self.content.trim_start_matches("application/");
        match &self.body {
            Body::None => write!(f, "{} {}", self.method, self.path),
            Body::Given(body) => write!(f, "{} {} {kind} {body}", self.method, self.path),
            Body::Seen(name, change) => {
                write!(f, "{} {} {kind} {name} as seen last, with {change}", self.method, self.path)
            }
        }
    }
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";

/// The requests of one sequence.
pub(super) fn steps(seed: u64) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    let count = rng.usize(4..14);
    let mut steps = vec![pods::create(&mut rng)];
    steps.extend((1..count).map(|_| step(&mut rng)));
    steps
}

/// What ends it: it matches each selector of [`watches`].
pub(super) fn marker() -> Step {
    let container = json!({"name": "c", "image": "busybox:1"});
    let spec = json!({"nodeName": NODE, "schedulerName": "nobody", "automountServiceAccountToken": false, "containers": [container]});
    let body = json!({"metadata": {"name": "z", "labels": {"app": "x"}}, "spec": spec});
    Step { method: "POST", path: "pods".to_owned(), content: JSON, body: Body::Given(body) }
}

fn step(rng: &mut Rng) -> Step {
    use {pods::create, reads::*, writes::*};
    const MAKES: [fn(&mut Rng) -> Step; 21] = [
        create, create, get, list, list, page, merge, merge, merge, strategic, strategic, json_patch, status, status,
        put, delete, delete, delete, bind, evict, collection,
    ];
    pick(rng, &MAKES)(rng)
}

fn pick<T: Copy>(rng: &mut Rng, all: &[T]) -> T {
    all[rng.usize(..all.len())]
}

/// One of several JSON values.
fn one(rng: &mut Rng, all: Value) -> Value {
    let Value::Array(mut all) = all else { return all };
    all.swap_remove(rng.usize(..all.len()))
}

fn maybe(rng: &mut Rng, one_in: u32, object: &mut Value, key: &str, value: impl Fn(&mut Rng) -> Value) {
    if rng.u32(..one_in) == 0 {
        object[key] = value(rng);
    }
}

fn name(rng: &mut Rng) -> &'static str {
    pick(rng, &NAMES)
}

fn pod(rng: &mut Rng) -> String {
    format!("pods/{}", name(rng))
}

fn given(method: &'static str, path: String, content: &'static str, body: Value) -> Step {
    Step { method, path, content, body: Body::Given(body) }
}

fn finalizers(rng: &mut Rng) -> Value {
    one(rng, json!([["kpo.rs/one"], ["kpo.rs/one", "kpo.rs/two"]]))
}
