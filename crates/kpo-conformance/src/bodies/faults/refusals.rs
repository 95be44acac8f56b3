//! Each request of a run answered with an error, before the API server has it and after it has done what was asked.

use super::{Course, Kind, Tried, chosen, each_befallen, undisturbed};
use crate::cluster::Namespace;
use crate::proxy::{Asked, Fault, Moment, Words};
use crate::{Error, is_long};

/// Code, `Retry-After` in seconds, in whose words. A 429 in the API server's words after it has done what was asked does not exist: it is its
/// filter's, which comes before all else.
const REFUSALS: [(u16, Option<u32>, Words); 9] = [
    (503, Some(1), Words::Server),
    (504, None, Words::Gateway),
    (500, None, Words::Server),
    (429, Some(1), Words::Gateway),
    (503, None, Words::Gateway),
    (504, None, Words::Server),
    (429, None, Words::Server),
    (429, Some(1), Words::Server),
    (500, None, Words::Gateway),
];

/// In the gate the first two.
const COURSES: [Course; 4] = [Course::Succeeds, Course::Evicted, Course::Retried, Course::LargeResult];

pub(in crate::bodies) async fn requests_refused(namespace: &Namespace<'_>) -> Result<(), Error> {
    let courses = if is_long() { &COURSES[..] } else { &COURSES[..2] };
    let runs = undisturbed(namespace, &courses.iter().map(|course| Kind::from(*course)).collect::<Vec<_>>()).await?;
    each_befallen(namespace, "requests_refused", cases(chosen(runs))).await
}

/// All; in the gate each request once before and once after its effect, each time with another refusal.
fn cases(requests: Vec<(Kind, Asked)>) -> Vec<Tried<(Asked, Fault)>> {
    let mut cases = Vec::new();
    for (kind, asked) in requests {
        for moment in [Moment::Before, Moment::After] {
            let fits = |words: &Words, code: u16| moment == Moment::Before || code != 429 || *words == Words::Gateway;
            let fitting: Vec<_> = REFUSALS.iter().filter(|(code, _, words)| fits(words, *code)).collect();
            let first = cases.len() % fitting.len();
            let count = if is_long() { fitting.len() } else { 1 };
            for (code, retry_after, words) in fitting.into_iter().cycle().skip(first).take(count).copied() {
                let fault = Fault::Answer { code, retry_after, words, moment };
                cases.push((kind, (asked.clone(), fault)));
            }
        }
    }
    cases
}
