//! From the proof that nothing ran to the next attempt.

use super::{Size, kpo_run, median, millis};
use crate::Error;
use crate::lab::EVICTED;
use crate::lab_process::LabProcess;
use crate::process::{self, between};
use crate::table::Row;
use std::time::Duration;

pub(super) fn measure(_: Size) -> Result<Vec<Row>, Error> {
    let mut lab = LabProcess::start(1)?;
    let mut took = Vec::new();
    for number in 0..EVICTED {
        let name = format!("evicted{number}");
        let ran = process::run(kpo_run(&lab, &format!("bench/slow{number}"))?.args(["--name", &name]))?;
        if ran.code != 0 {
            return Err(format!("an evicted task ended with {}", ran.code).into());
        }
        took.push(one(&mut lab, &name)?);
    }
    let middle = median(&took);
    let is_met = middle <= Duration::from_millis(50);
    Ok(vec![
        Row::against("proof → gated replacement, median", millis(middle), "≤ 50 ms", is_met)
            .beside("kubectl makes no replacement".to_owned()),
    ])
}

/// From the write that shows the first pod's container terminated (or, without one, the pod gone) to the create of the second.
fn one(lab: &mut LabProcess, task: &str) -> Result<Duration, Error> {
    let (first, second) = (format!("{task}-1"), format!("{task}-2"));
    let writes = lab.writes()?;
    let proof = writes.iter().find(|change| change.pod == first).ok_or("it did not end")?;
    let journal = lab.journal()?;
    let create = journal.iter().find(|seen| seen.verb == "create" && seen.name == second).ok_or("no second attempt")?;
    Ok(between(proof.at, create.at))
}
