//! Each scenario again: with a crash of the observer at every command, and with a lost reply at every write.

use crate::core_run::{self, Run, Upset};
use crate::engine_run;
use crate::expect::{self, Rigour};
use crate::grammar::Scenario;
use crate::transcript::{Record, What};
use kpo_core::{Cause, Class, Reason, Started};
use std::fmt;
use std::time::Duration;

/// A run without something that happens is ended so long after the last thing in the whole one.
const LONGER: Duration = Duration::from_secs(60);

/// How the runs of a scenario went.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many there were.
    pub runs: usize,
    /// Those with a crash that came to the same as the undisturbed one.
    pub same: usize,
    /// Those with a crash that came to less, on the safe side: the new observer could not prove what the old one had seen.
    pub safer: usize,
    /// Those in which no pod was there when the observer crashed: only a snapshot could have gone on.
    pub gone: usize,
    /// What was wrong, with the transcript.
    pub failures: Vec<String>,
}

impl Report {
    /// Adds another's counts and failures.
    pub fn add(&mut self, other: Report) {
        self.runs += other.runs;
        self.same += other.same;
        self.safer += other.safer;
        self.gone += other.gone;
        self.failures.extend(other.failures);
    }

    fn fail(&mut self, what: &str, scenario: &Scenario, run: &Run, faults: &[String]) {
        let transcript: Vec<String> = run.records.iter().map(ToString::to_string).collect();
        let violations = run.violations.iter().map(ToString::to_string);
        let all: Vec<String> = faults.iter().cloned().chain(violations).collect();
        self.failures.push(format!("{}: {what}\n  {}\n{}", scenario.file, all.join("\n  "), transcript.join("\n")));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { runs, same, safer, gone, failures } = self;
        write!(
            f,
            "{runs} runs; after a crash {same} came to the same, {safer} to less on the safe side, {gone} found no pod"
        )?;
        if failures.is_empty() { Ok(()) } else { write!(f, "; {} failed", failures.len()) }
    }
}

/// Runs a scenario on the core: undisturbed, then with each crash and each lost reply in turn.
pub fn on_core(scenario: &Scenario) -> Report {
    let mut report = Report { runs: 1, ..Report::default() };
    let base = core_run::run(scenario, Upset::None, None);
    if !base.is_good() {
        report.fail("undisturbed, on the core", scenario, &base, &base.faults);
        return report;
    }
    for command in 0..base.commands {
        for (done, snapshot) in [(false, false), (true, false), (false, true), (true, true)] {
            let run = core_run::run(scenario, Upset::Crash { command, done, snapshot }, None);
            crashed(&mut report, scenario, &base, "core", run);
        }
    }
    for write in 0..base.writes {
        lost_reply(&mut report, scenario, &base, "core", core_run::run(scenario, Upset::LostReply { write }, None));
    }
    demand_less(&mut report, scenario);
    report
}

/// Runs a scenario on the engine: undisturbed, then with a crash before and after each write, and each lost reply in turn.
pub fn on_engine(scenario: &Scenario) -> Report {
    let mut report = Report { runs: 1, ..Report::default() };
    let base = engine_run::run(scenario, Upset::None, None);
    if !base.is_good() {
        report.fail("undisturbed, on the engine", scenario, &base, &base.faults);
        return report;
    }
    for write in 0..base.writes {
        for done in [false, true] {
            let upset = Upset::Crash { command: write, done, snapshot: false };
            crashed(&mut report, scenario, &base, "engine", engine_run::run(scenario, upset, None));
        }
        lost_reply(&mut report, scenario, &base, "engine", engine_run::run(scenario, Upset::LostReply { write }, None));
    }
    if scenario.engine_only.is_some() {
        demand_less(&mut report, scenario);
    }
    report
}

/// A file that allows what never comes allows too much.
fn demand_less(report: &mut Report, scenario: &Scenario) {
    if scenario.may_prove_less.is_some() && report.safer == 0 && report.failures.is_empty() {
        report.failures.push(format!("{}: it may prove less, and never does", scenario.file));
    }
}

/// Runs a scenario on the engine without each thing in turn that happens in it: something that can be observed must differ. `in_vain`: the
/// beginnings of the lines that may be without a trace.
pub fn without_each(scenario: &Scenario, in_vain: &[&str]) -> Report {
    let base = engine_run::run(scenario, Upset::None, None);
    // Whatever differs, differs by then: some runs without an end of theirs go on for a day.
    let longest = base.records.last().map_or(Duration::ZERO, |last| last.at) + LONGER;
    let again = |rest: &Scenario| observed(engine_run::run_for(rest, Upset::None, None, longest));
    let (mut report, whole) = (Report { runs: 1, ..Report::default() }, again(scenario));
    for (line, rest) in scenario.without_each() {
        report.runs += 1;
        let words = scenario.text.lines().nth(line - 1).unwrap_or_default();
        if again(&rest) == whole && !in_vain.iter().any(|start| words.starts_with(start)) {
            report.failures.push(format!("{}:{line}: nothing differs without it: {words}", scenario.file));
        }
    }
    // Where runs differ by themselves, nothing follows from a difference.
    if report.runs > 1 && again(scenario) != whole {
        report.failures.push(format!("{}: it runs differently each time", scenario.file));
    }
    report
}

/// What can be observed of a run: what was said and sent, and each request; at one instant in any order.
fn observed(run: Run) -> Vec<String> {
    let shows = |record: &&Record| !matches!(record.what, What::Does(_));
    // Whether an explanation is still asked for at the instant of a cancel, nobody decides.
    let requests = run.requests.into_iter().filter(|request| !request.contains(" list events"));
    let mut all: Vec<String> = run.records.iter().filter(shows).map(ToString::to_string).chain(requests).collect();
    all.sort_unstable();
    all
}

fn crashed(report: &mut Report, scenario: &Scenario, base: &Run, on: &str, run: Run) {
    report.runs += 1;
    let likeness = likeness(scenario, base, &run);
    match likeness {
        Likeness::Same => report.same += 1,
        Likeness::Safer => report.safer += 1,
        Likeness::Gone => report.gone += 1,
        Likeness::Other(_) => {}
    }
    let mut faults = run.faults.clone();
    if let Likeness::Other(why) = likeness {
        faults.push(why);
    }
    if !faults.is_empty() || !run.violations.is_empty() {
        report.fail(&format!("on the {on}, with {:?}", run.upset_was), scenario, &run, &faults);
    }
}

fn lost_reply(report: &mut Report, scenario: &Scenario, base: &Run, on: &str, run: Run) {
    report.runs += 1;
    let mut faults = run.faults.clone();
    let differs = expect::compare(&scenario.expected, &run.records, Rigour::Conclusions);
    let disrupted = end_of(&run).is_some_and(|end| is_disrupted(&end));
    match likeness(scenario, base, &run) {
        _ if differs.is_empty() => {}
        // Its first sight came a second late: what happened before it is not covered.
        Likeness::Safer => report.safer += 1,
        Likeness::Same if disrupted && proves_less(scenario, base, &run) => report.safer += 1,
        _ => faults.extend(differs),
    }
    if !faults.is_empty() || !run.violations.is_empty() {
        report.fail(&format!("on the {on}, with {:?}", run.upset_was), scenario, &run, &faults);
    }
}

/// How the end of a run with a crash compares with the undisturbed one's.
pub(crate) enum Likeness {
    /// The same outcome.
    Same,
    /// It ended as disrupted, where the observer that had seen all could prove more, and the file says why.
    Safer,
    /// There was no pod to go on with.
    Gone,
    /// Something else: not to be had.
    Other(String),
}

pub(crate) fn likeness(scenario: &Scenario, base: &Run, run: &Run) -> Likeness {
    let (wanted, found) = (end_of(base), end_of(run));
    // What was handed over before the crash stands, whatever somebody makes later of what was left.
    if wanted == found || !run.upset || ends_of(run).contains(&wanted) {
        return Likeness::Same;
    }
    if run.lost {
        return match scenario.task.spec.protect && run.created > 0 {
            true => Likeness::Other("a protected task was lost".to_owned()),
            false => Likeness::Gone,
        };
    }
    match found {
        Some(end) if is_disrupted(&end) && proves_less(scenario, base, run) => Likeness::Safer,
        found => Likeness::Other(format!("it came to {found:?} after a crash; undisturbed to {wanted:?}")),
    }
}

fn is_disrupted(end: &End) -> bool {
    end.class.as_deref() == Some("disrupted")
}

/// Whether the file says that it may, and nothing more was done than in the undisturbed run.
fn proves_less(scenario: &Scenario, base: &Run, run: &Run) -> bool {
    scenario.may_prove_less.is_some() && run.created <= base.created
}

/// What a task came to.
#[derive(Debug, PartialEq, Eq)]
struct End {
    class: Option<String>,
    exit_code: Option<i32>,
    reason: Option<Reason>,
    /// By what it was taken away, and whether it had started.
    disruption: Option<(Cause, Started)>,
}

fn end_of(run: &Run) -> Option<End> {
    run.outcome().map(as_end)
}

/// All that was handed over in a run, by whomever.
fn ends_of(run: &Run) -> Vec<Option<End>> {
    let outcome = |record: &Record| match &record.what {
        What::Outcome(outcome) => Some(Some(as_end(outcome))),
        _ => None,
    };
    run.records.iter().filter_map(outcome).collect()
}

fn as_end(outcome: &kpo_core::Outcome) -> End {
    let verdict = outcome.attempts.last().and_then(|last| last.verdict.as_ref());
    let disruption = verdict.and_then(|judged| match &judged.verdict.class {
        Class::Disrupted { cause, started } => Some((*cause, *started)),
        _ => None,
    });
    // Who comes after the delete sees a pod that ended well and terminates: that it ended before, nobody can tell any more.
    let reason = outcome.reason.map(|reason| match reason {
        Reason::SucceededWhileTerminating => Reason::Succeeded,
        reason => reason,
    });
    End { class: outcome.verdict.clone(), exit_code: outcome.exit_code, reason, disruption }
}
