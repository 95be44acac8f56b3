//! The long run: everything, stage by stage, each once a commit; its report is kept with the project.

use crate::run::say;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const REPORT: &str = "docs/proof/report.md";

/// A command of this project's own, and what it is run with.
struct Stage {
    name: &'static str,
    arguments: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
    /// Whether it needs a cluster of its own making: the one before is taken down.
    fresh: bool,
}

const LONG: (&str, &str) = ("KPO_LONG", "1");

const STAGES: &[Stage] = &[
    Stage { name: "tests", arguments: &["test"], env: &[], fresh: false },
    Stage { name: "lab", arguments: &["conformance", "lab"], env: &[LONG], fresh: false },
    Stage { name: "kubernetes-1.34", arguments: &["conformance", "cluster"], env: &[LONG], fresh: true },
    Stage { name: "differ", arguments: &["differ", "2000"], env: &[], fresh: true },
    Stage { name: "etcd-3.4", arguments: &["conformance", "cluster"], env: &[("KPO_ETCD", "3.4")], fresh: true },
    Stage {
        name: "kubernetes-1.36",
        arguments: &["conformance", "cluster"],
        env: &[("KPO_KUBERNETES", "1.36.3")],
        fresh: true,
    },
    Stage { name: "crowd", arguments: &["crowd"], env: &[], fresh: true },
    Stage { name: "figures", arguments: &["bench", "--check"], env: &[], fresh: true },
];

/// Runs all stages, or those of these names; one that has passed at this commit is not run again. `--age` only tells how old the report is.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    if arguments.iter().any(|argument| argument == "--age") {
        say(&age());
        return Ok(());
    }
    if let Some(unknown) = arguments.iter().find(|name| STAGES.iter().all(|stage| stage.name != **name)) {
        let known: Vec<&str> = STAGES.iter().map(|stage| stage.name).collect();
        return Err(format!("there is no stage {unknown}; there are {}", known.join(", ")));
    }
    let commit = commit()?;
    let folder = Path::new("target/prove").join(&commit);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let wanted = |stage: &&Stage| arguments.is_empty() || arguments.iter().any(|name| name == stage.name);
    for stage in STAGES.iter().filter(wanted) {
        stage.prove(&folder)?;
    }
    report(&commit, &folder)
}

/// What is proved is a commit: nothing may differ from it.
fn commit() -> Result<String, String> {
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    if !changed.is_empty() {
        return Err(format!("what is proved is a commit, and these differ from it:\n{changed}"));
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("git").args(arguments).output().map_err(|error| format!("git: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("git {}: {}", arguments.join(" "), text(&output.stderr)))
    }
}

impl Stage {
    /// The words of the run, and the seconds it took: the latter are there once it has passed.
    fn log(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.log", self.name))
    }

    fn took(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.took", self.name))
    }

    fn prove(&self, folder: &Path) -> Result<(), String> {
        if let Ok(seconds) = fs::read_to_string(self.took(folder)) {
            say(&format!("{}: has passed, in {seconds} s", self.name));
            return Ok(());
        }
        let log = self.log(folder);
        say(&format!("{}: runs; tail -f {}", self.name, log.display()));
        let began = Instant::now();
        if self.fresh {
            crate::cluster::run(&["down".to_owned()])?;
        }
        let is_passed = self.play(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        if self.fresh {
            crate::cluster::run(&["down".to_owned()])?;
        }
        if !is_passed {
            return Err(format!("{} failed; what it said is in {}", self.name, log.display()));
        }
        let seconds = began.elapsed().as_secs().to_string();
        say(&format!("{}: passed in {seconds} s", self.name));
        fs::write(self.took(folder), seconds).map_err(|error| error.to_string())
    }

    fn play(&self, log: &Path) -> std::io::Result<bool> {
        let out = File::create(log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(self.arguments).envs(self.env.iter().copied()).stdin(Stdio::null());
        command.stdout(out.try_clone()?).stderr(out);
        Ok(command.status()?.success())
    }
}

/// Writes what the stages that have passed at this commit came to.
fn report(commit: &str, folder: &Path) -> Result<(), String> {
    let date = git(&["show", "--no-patch", "--format=%cs", "HEAD"])?;
    let mut text = format!("# What was proved\n\ncommit {commit} of {date}, on {}: `cargo xtask prove`.\n", machine());
    let mut missing = Vec::new();
    for stage in STAGES {
        match fs::read_to_string(stage.took(folder)) {
            Ok(seconds) => text += &stage.told(folder, &seconds)?,
            Err(_) => missing.push(stage.name),
        }
    }
    if !missing.is_empty() {
        text += &format!("\nNot run, or not passed: {}.\n", missing.join(", "));
    }
    fs::create_dir_all("docs/proof")
        .and_then(|()| fs::write(REPORT, text))
        .map_err(|error| format!("{REPORT}: {error}"))
}

impl Stage {
    fn told(&self, folder: &Path, seconds: &str) -> Result<String, String> {
        let log = fs::read_to_string(self.log(folder)).map_err(|error| error.to_string())?;
        let env: String = self.env.iter().map(|(key, value)| format!("{key}={value} ")).collect();
        Ok(format!(
            "\n## {}\n\n`{env}cargo xtask {}`, {seconds} s\n\n{}",
            self.name,
            self.arguments.join(" "),
            counts(&log)
        ))
    }
}

/// The lines of a run that count something: tests, bodies, sequences, and the tables of figures.
fn counts(log: &str) -> String {
    let passed: Vec<u64> = log
        .lines()
        .filter_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next()?.parse().ok())
        .collect();
    let mut told = String::new();
    if !passed.is_empty() {
        told += &format!("- {} tests passed\n", passed.iter().sum::<u64>());
    }
    for line in log.lines() {
        if line.starts_with('|') {
            told += &format!("{line}\n");
        } else if line.contains(" passed, ") && !line.starts_with("test result")
            || line.contains(" sequences, ")
            || line.starts_with("machine: ")
        {
            told += &format!("- {line}\n\n");
        }
    }
    told
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = info.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, {} GiB, Linux {}", kib >> 20, kernel.trim())
}

/// How old the report is, in commits.
fn age() -> String {
    let Ok(text) = fs::read_to_string(REPORT) else {
        return format!("there is no {REPORT}: cargo xtask prove writes it");
    };
    let line = text.lines().find(|line| line.starts_with("commit ")).unwrap_or_default();
    let commit = line.split(' ').nth(1).unwrap_or_default();
    let since = git(&["rev-list", "--count", &format!("{commit}..HEAD")]);
    let since = since.map_or_else(|_| "unknown to this clone".to_owned(), |count| format!("{count} commits ago"));
    format!("{REPORT}: {line} ({since})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_kept() {
        let log = "running 3 tests\ntest result: ok. 3 passed; 0 failed\ntest result: ok. 4 passed; 0 failed\n  0.1 s  ok  burst\n\
            cluster v1.34.4: 35 passed, 0 failed\n| a | b |\nlab and cluster: 2000 sequences, 0 differ\n";
        let told = "- 7 tests passed\n- cluster v1.34.4: 35 passed, 0 failed\n\n| a | b |\n- lab and cluster: 2000 sequences, 0 differ\n\n";
        assert_eq!(counts(log), told);
    }

    #[test]
    fn each_stage_is_a_command_of_this_project() {
        for stage in STAGES {
            assert!(crate::TASKS.iter().any(|task| task.name == stage.arguments[0]), "{}", stage.name);
        }
    }
}
