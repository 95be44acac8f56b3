//! Every file of `scenarios/` is a test: on the core, on the engine, and without each thing that happens in it. See the crate's documentation
//! for the format.
//!
//! `cargo test -p kpo-scenario --test scenarios [FILTER]`; `--transcript` prints what happens in each undisturbed run.
#![allow(clippy::print_stdout, reason = "a test binary of its own: it prints what cargo's would")]

use kpo_scenario::{Report, Scenario};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// What was asked on the command line: cargo's words that mean something here.
#[derive(Default)]
struct Asked {
    filters: Vec<String>,
    exact: bool,
    list: bool,
    transcript: bool,
}

fn main() -> ExitCode {
    let asked = asked();
    let all = tests();
    let chosen: Vec<&Test> = all.iter().filter(|test| asked.wants(&test.name)).collect();
    if asked.list {
        chosen.iter().for_each(|test| println!("{}: test", test.name));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", chosen.len());
    let (begun, mut total, mut failed) = (Instant::now(), Report::default(), Vec::new());
    for (test, report) in chosen.iter().zip(run_all(&chosen, &asked)) {
        println!("test {} ... {} ({report})", test.name, if report.failures.is_empty() { "ok" } else { "FAILED" });
        if let Some(first) = report.failures.first() {
            failed.push(test);
            // The first tells the most; the others mostly follow from it.
            println!("\n---- {} ----\n{first}\n", test.name);
        }
        total.add(report);
    }
    let (passed, result) = (chosen.len() - failed.len(), if failed.is_empty() { "ok" } else { "FAILED" });
    println!("\n{} scenarios; {total}", files().len());
    println!(
        "\ntest result: {result}. {passed} passed; {} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        failed.len(),
        all.len() - chosen.len(),
        begun.elapsed().as_secs_f64()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

/// Runs them side by side; the reports in their order.
fn run_all(chosen: &[&Test], asked: &Asked) -> Vec<Report> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((index, test)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|i| Some((i, chosen.get(i)?)))
        {
            let run = std::panic::catch_unwind(|| test.run(asked));
            let panicked =
                || Report { failures: vec!["it panicked; its message stands above".to_owned()], ..Report::default() };
            done.push((index, run.unwrap_or_else(|_| panicked())));
        }
        done
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut done: Vec<(usize, Report)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a run panicked; its message stands above"))
            .collect()
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, report)| report).collect()
}

fn asked() -> Asked {
    let mut asked = Asked::default();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--exact" => asked.exact = true,
            "--list" => asked.list = true,
            "--transcript" => asked.transcript = true,
            text if text.starts_with('-') => {}
            text => asked.filters.push(text.to_owned()),
        }
    }
    asked
}

impl Asked {
    fn wants(&self, name: &str) -> bool {
        let fits = |filter: &String| if self.exact { name == filter } else { name.contains(filter.as_str()) };
        self.filters.is_empty() || self.filters.iter().any(fits)
    }
}

/// A scenario on one of its runners.
struct Test {
    name: String,
    file: PathBuf,
    on: On,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum On {
    Core,
    Engine,
    /// On the engine, without each thing in turn that happens in it.
    Without,
}

/// What may happen without a trace: the file, how its line begins, and why it stands there all the same.
const IN_VAIN: [(&str, &str, &str); 4] = [
    ("taint_eviction_is_cancelled", "at 5s: node node-1 tainted", "an event that must change nothing"),
    (
        "taint_eviction_is_cancelled",
        "at 1m: node node-1 untainted",
        "where the eviction were not cancelled it came after the deletion",
    ),
    ("kueue_evicts", "when pod t-1 created: set-finalizer", "a finalizer of others, which nobody waits for"),
    ("kueue_evicts", "then after 5m: drop-finalizer", "it goes with the one before"),
];

impl Test {
    fn run(&self, asked: &Asked) -> Report {
        let scenario = match read(&self.file) {
            Ok(scenario) => scenario,
            Err(error) => return Report { failures: vec![error], ..Report::default() },
        };
        if asked.transcript {
            self.tell(&scenario);
        }
        match self.on {
            On::Core => kpo_scenario::on_core(&scenario),
            On::Engine => kpo_scenario::on_engine(&scenario),
            On::Without => kpo_scenario::without_each(&scenario, &self.in_vain()),
        }
    }

    fn in_vain(&self) -> Vec<&'static str> {
        let stem = self.file.file_stem().unwrap_or_default();
        IN_VAIN.iter().filter(|(file, ..)| stem == *file).map(|(_, start, _)| *start).collect()
    }

    fn tell(&self, scenario: &Scenario) {
        let run = match self.on {
            On::Core => kpo_scenario::run_on_core(scenario, kpo_scenario::Upset::None, None),
            On::Engine | On::Without => kpo_scenario::run_on_engine(scenario, kpo_scenario::Upset::None, None),
        };
        println!("# {}", scenario.title);
        run.records.iter().for_each(|record| println!("{record}"));
    }
}

fn read(file: &Path) -> Result<Scenario, String> {
    let name = format!("scenarios/{}", file.file_name().unwrap_or_default().to_string_lossy());
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    Scenario::parse(&name, &text).map_err(|error| error.to_string())
}

/// All files of `scenarios/`, by name.
fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut files: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "scenario")).collect();
    files.sort();
    files
}

fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for file in files() {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let engine_only = read(&file).is_ok_and(|scenario| scenario.engine_only.is_some());
        if !engine_only {
            tests.push(Test { name: format!("core::{stem}"), file: file.clone(), on: On::Core });
        }
        tests.push(Test { name: format!("engine::{stem}"), file: file.clone(), on: On::Engine });
        tests.push(Test { name: format!("without::{stem}"), file, on: On::Without });
    }
    tests
}
