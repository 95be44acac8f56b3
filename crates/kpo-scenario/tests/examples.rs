//! `examples/lab/`: scripts for `kpo run --lab=FILE`, one and more for each way in which a pod can be taken away. The first line of each says, after
//! its last colon, what becomes of the first attempt.

use kpo_lab::script;
use kpo_scenario::{Scenario, Upset, run_on_engine};
use std::path::{Path, PathBuf};

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(folder);
    let entries = std::fs::read_dir(&folder).expect("a folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn read(file: &Path) -> String {
    std::fs::read_to_string(file).expect("it can be read")
}

/// What is wrong when a task runs on that script's lab.
fn wrong(file: &Path) -> Option<String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = read(file);
    let promise = text.lines().next().and_then(|line| line.strip_suffix('.')).and_then(|line| line.rsplit_once(": "));
    let Some((_, promise)) = promise else { return Some(format!("{name} promises nothing")) };
    let text = format!("{text}\ntask juice image=busybox:1.36 cpu=500m\nsays created 1\n");
    let scenario = Scenario::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
    let run = run_on_engine(&scenario, Upset::None, None);
    let found = run.verdict(1).unwrap_or_default();
    let kept = in_short(&found) == promise.replace(',', "");
    (!kept || !run.is_good())
        .then(|| format!("{name}: promised: {promise}; found: {found}; {:?} {:?}", run.faults, run.violations))
}

/// A success, or a disruption's cause and whether it had started, says it all; of a failure the reason and the code are told too.
fn in_short(verdict: &str) -> &str {
    if verdict.starts_with("failed") || verdict.starts_with("launchFailed") {
        return verdict;
    }
    let rest = [" proof ", " reason "].iter().filter_map(|word| verdict.find(word)).min();
    &verdict[..rest.unwrap_or(verdict.len())]
}

#[test]
fn every_example_keeps_its_promise() {
    let wrong: Vec<String> = files("examples/lab").iter().filter_map(|file| wrong(file)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_scenario_is_a_script_too() {
    for file in files("scenarios") {
        let text = read(&file);
        let scenario = Scenario::parse("it", &text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let script = script::parse_scenario(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert_eq!(format!("{script:?}"), format!("{:?}", scenario.script), "{}", file.display());
    }
}
