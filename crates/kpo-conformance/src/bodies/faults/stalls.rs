//! Answers that stop in their midst, and nobody closes the connection: it is given up after a time, and nothing is lost by that.

use super::{Course, Kind, Tried, chosen, each_befallen, undisturbed};
use crate::cluster::Namespace;
use crate::proxy::{Asked, Fault};
use crate::{Error, is_long};

/// Where an answer stops: before it has begun, within its header, and within its body.
const AFTER: [u64; 3] = [0, 100, 600];

/// In the gate only logs that are followed: the others' timeouts are a half of a minute, and a watch's is five. A first request that nobody answers
/// ends the run.
pub(in crate::bodies) async fn answers_stalled(namespace: &Namespace<'_>) -> Result<(), Error> {
    let requests = chosen(undisturbed(namespace, &[Course::Succeeds.into(), Course::Retried.into()]).await?);
    let stalls = |(kind, asked): (Kind, Asked)| AFTER.map(|after| (kind, (asked.clone(), Fault::Stall { after })));
    let fits = |asked: &Asked| asked.what == "get pods/1/log base" || (is_long() && asked.what != "list pods");
    let requests = requests.into_iter().filter(|(_, asked)| fits(asked));
    let cases: Vec<Tried<(Asked, Fault)>> = requests.flat_map(stalls).collect();
    each_befallen(namespace, "answers_stalled", cases).await
}
