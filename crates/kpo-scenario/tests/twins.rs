//! Each invariant has a twin: a defect that is put in on purpose, and is caught.

use kpo_scenario::{Invariant, Run, Sabotage, Scenario, Upset, on_core, run_on_core, run_on_engine, without_each};

fn scenario(name: &str) -> Scenario {
    let path = format!("{}/../../scenarios/{name}.scenario", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("a scenario of that name");
    Scenario::parse(name, &text).expect("it is sound")
}

fn run(name: &str, sabotage: Sabotage) -> Run {
    let scenario = scenario(name);
    assert!(run_on_core(&scenario, Upset::None, None).is_good(), "without the defect all is well");
    run_on_core(&scenario, Upset::None, Some(sabotage))
}

fn catches(invariant: Invariant, run: &Run) {
    let found: Vec<String> = run.violations.iter().map(ToString::to_string).collect();
    assert!(run.violations.iter().any(|violation| violation.invariant == invariant), "found only: {found:?}");
}

#[test]
fn a_second_pod_beside_the_first_is_a_second_life() {
    catches(Invariant::OneLife, &run("exit_code", Sabotage::Twin));
}

#[test]
fn a_started_program_that_is_run_again_is_caught() {
    catches(Invariant::NoSecondStart, &run("preempted_while_running", Sabotage::BlindRerun));
}

#[test]
fn a_delete_without_either_precondition_is_caught() {
    catches(Invariant::FencedDeletes, &run("exit_code", Sabotage::NoUid));
    catches(Invariant::FencedDeletes, &run("exit_code", Sabotage::NoVersion));
}

#[test]
fn a_delete_before_the_outcome_is_taken_is_caught() {
    let run = run("exit_code", Sabotage::DeleteFirst);
    catches(Invariant::OutcomeFirst, &run);
    assert!(run.violations[0].seen.contains("delete t-1"), "{:?}", run.violations);
}

#[test]
fn a_pod_that_is_left_behind_is_caught() {
    catches(Invariant::NothingLeft, &run("exit_code", Sabotage::NoDelete));
}

#[test]
fn a_finalizer_that_is_left_behind_is_caught() {
    let run = run("kept_after_failure", Sabotage::NoRelease);
    catches(Invariant::NothingLeft, &run);
    assert!(run.violations[0].seen.contains("t-1 still has the finalizer"), "{:?}", run.violations);
}

#[test]
fn a_pod_that_nobody_can_attach_to_is_caught() {
    let scenario = scenario("exit_code");
    let crash = Upset::Crash { command: 0, done: true, snapshot: false };
    assert!(run_on_core(&scenario, crash, None).is_good(), "without the defect all is well");
    let run = run_on_core(&scenario, crash, Some(Sabotage::RefuseAttach));
    catches(Invariant::NeverLost, &run);
    assert_eq!(run.violations[0].seen, "it could not be attached to, though a pod of it is there");
}

#[test]
fn a_task_that_is_never_heard_of_again_is_caught() {
    catches(Invariant::NeverLost, &run("exit_code", Sabotage::BlindEyes));
}

#[test]
fn a_line_that_is_printed_twice_not_at_all_too_late_or_made_up_is_caught_and_so_is_a_gap_that_is_none() {
    let scenario = scenario("undisturbed");
    assert!(run_on_engine(&scenario, Upset::None, None).is_good(), "without the defect all is well");
    for (defect, wrong) in [
        (Sabotage::Stutter, "\"two\" comes again, or too late"),
        (Sabotage::Swallow, "1 lines are missing before \"three\""),
        (Sabotage::Swap, "1 lines are missing before \"three\""),
        (Sabotage::Invent, "nobody wrote \"made up\""),
        (Sabotage::Mute, "3 lines are missing at the end"),
        (Sabotage::Misname, "a gap (none) after None"),
    ] {
        let run = run_on_engine(&scenario, Upset::None, Some(defect));
        let found: Vec<&str> = run.violations.iter().map(|violation| violation.seen.as_str()).collect();
        assert!(run.violations.iter().all(|violation| violation.invariant == Invariant::LinesOnce), "{found:?}");
        assert!(found.len() == 1 && found[0].contains(wrong), "{defect:?}: {found:?}");
    }
}

#[test]
fn in_a_run_with_a_crash_each_observers_lines_are_judged() {
    let scenario = scenario("undisturbed");
    // The observer is gone at its last write, the delete: the next one reads the log anew.
    let crash = Upset::Crash { command: 1, done: false, snapshot: false };
    assert!(run_on_engine(&scenario, crash, None).is_good());
    catches(Invariant::LinesOnce, &run_on_engine(&scenario, crash, Some(Sabotage::Swallow)));
}

#[test]
fn what_happens_in_vain_is_caught() {
    let text = "# Nothing comes of the label.\nnode node-1\ntask t\nat 500ms: node node-1 labelled a=b\nuser cancels at 1m\noutcome succeeded\n";
    let scenario = Scenario::parse("in_vain", text).expect("it is sound");
    assert!(run_on_engine(&scenario, Upset::None, None).is_good(), "it takes effect, and is of no account");
    let report = without_each(&scenario, &[]);
    let found = ["at 500ms: node node-1 labelled a=b", "user cancels at 1m"].iter().enumerate();
    let found = found.map(|(index, words)| format!("in_vain:{}: nothing differs without it: {words}", index + 4));
    assert_eq!(report.failures, found.collect::<Vec<_>>());
    assert_eq!(without_each(&scenario, &["at 500ms", "user"]).failures, Vec::<String>::new());
}

#[test]
fn less_is_proven_only_where_the_file_says_why() {
    let whole = scenario("rejected_by_the_kubelet");
    assert_eq!(on_core(&whole).failures, Vec::<String>::new());
    let silent = Scenario { may_prove_less: None, ..whole };
    assert!(on_core(&silent).failures[0].contains("perhaps started"), "a lost reply leaves a doubt");
    let generous = Scenario { may_prove_less: Some("who knows".to_owned()), ..scenario("exit_code") };
    assert_eq!(on_core(&generous).failures, ["exit_code: it may prove less, and never does"]);
}
