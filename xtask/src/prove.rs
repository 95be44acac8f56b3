//! The long run: everything, stage by stage. What each came to is kept with the project, with the commit that it was seen on.

use crate::run::say;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// What was proved: a file a stage.
const PROOF: &str = "docs/proof";
/// What is said on the way.
const LOGS: &str = "target/prove";

/// A command of this project's own, and what it is run with.
struct Stage {
    name: &'static str,
    arguments: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
    /// Whether it needs a cluster of its own making: the one before is taken down.
    fresh: bool,
}

const LONG: &[(&str, &str)] = &[("KPO_LONG", "1")];

/// Bodies are named by their modules too. Those that are more thorough in the long run are in these: `outage`, `silent`, `faults`, and the one about
/// logs.
const STAGES: &[Stage] = &[
    Stage { name: "tests", arguments: &["test"], env: &[], fresh: false },
    Stage { name: "lab", arguments: &["conformance", "lab"], env: LONG, fresh: false },
    Stage { name: "kubernetes-1.34", arguments: &["conformance", "cluster"], env: &[], fresh: true },
    Stage {
        name: "outages",
        arguments: &["conformance", "cluster", "outage", "silent", "rotated_under_way"],
        env: LONG,
        fresh: true,
    },
    Stage { name: "faults", arguments: &["conformance", "cluster", "faults"], env: LONG, fresh: true },
    Stage { name: "differ", arguments: &["differ", "2000"], env: &[], fresh: true },
    Stage { name: "etcd-3.4", arguments: &["conformance", "cluster"], env: &[("KPO_ETCD", "3.4")], fresh: true },
    Stage {
        name: "kubernetes-1.36",
        arguments: &["conformance", "cluster"],
        env: &[("KPO_KUBERNETES", "1.36.3")],
        fresh: true,
    },
    Stage { name: "airflow", arguments: &["airflow-real", "cluster"], env: LONG, fresh: true },
    Stage { name: "airflow-figures", arguments: &["airflow-figures"], env: &[], fresh: true },
    Stage { name: "crowd", arguments: &["crowd"], env: &[], fresh: true },
    Stage { name: "wheels", arguments: &["wheels"], env: &[], fresh: false },
    Stage { name: "figures", arguments: &["bench", "--check"], env: &[], fresh: true },
];

/// Runs all stages, or those of these names; not again one that has passed on what is there now. `--age` only tells how old what was proved is.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    if arguments.iter().any(|argument| argument == "--age") {
        STAGES.iter().for_each(|stage| say(&stage.age()));
        return Ok(());
    }
    if let Some(unknown) = arguments.iter().find(|name| STAGES.iter().all(|stage| stage.name != **name)) {
        let known: Vec<&str> = STAGES.iter().map(|stage| stage.name).collect();
        return Err(format!("there is no stage {unknown}; there are {}", known.join(", ")));
    }
    commit()?;
    fs::create_dir_all(LOGS).map_err(|error| format!("{LOGS}: {error}"))?;
    tell_all()?;
    let wanted = |stage: &&Stage| arguments.is_empty() || arguments.iter().any(|name| name == stage.name);
    let failed = STAGES.iter().filter(wanted).filter(|stage| stage.prove().inspect_err(|error| say(error)).is_err());
    match failed.map(|stage| stage.name).collect::<Vec<_>>()[..] {
        [] => Ok(()),
        ref failed => Err(format!("not proved: {}", failed.join(", "))),
    }
}

/// What is proved is a commit: nothing but what was proved may differ from it.
fn commit() -> Result<String, String> {
    let changed = git(&["status", "--porcelain", "--untracked-files=no", "--", ".", &format!(":!{PROOF}")])?;
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
    fn proof(&self) -> PathBuf {
        Path::new(PROOF).join(format!("{}.md", self.name))
    }

    /// What its proof says behind these words, at the beginning of a line.
    fn said(&self, words: &str) -> Option<String> {
        let text = fs::read_to_string(self.proof()).ok()?;
        text.lines().find_map(|line| line.strip_prefix(words)).map(str::to_owned)
    }

    /// The commit on which it passed last.
    fn proved(&self) -> Option<String> {
        Some(self.said("commit ")?.split([' ', ',']).next()?.to_owned())
    }

    /// Whether it has passed on what is there now: nothing but documents was changed since.
    fn is_proved(&self) -> bool {
        self.proved().is_some_and(|commit| git(&["diff", "--quiet", &commit, "HEAD", "--", ".", ":!*.md"]).is_ok())
    }

    fn prove(&self) -> Result<(), String> {
        let before = commit()?;
        if self.is_proved() {
            say(&format!("{}: has passed", self.name));
            return Ok(());
        }
        let log = Path::new(LOGS).join(format!("{}.log", self.name));
        say(&format!("{}: runs; tail -f {}", self.name, log.display()));
        let began = Instant::now();
        self.clear()?;
        let is_passed = self.play(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        self.clear()?;
        if !is_passed {
            return Err(format!("{} failed; what it said is in {}", self.name, log.display()));
        }
        say(&format!("{}: passed in {} s", self.name, began.elapsed().as_secs()));
        let said = fs::read_to_string(&log).map_err(|error| format!("{}: {error}", log.display()))?;
        if commit()? != before {
            return Err(format!("{} proves nothing: what it ran on was changed under way", self.name));
        }
        let told = self.told(&before, began.elapsed().as_secs(), &said)?;
        fs::write(self.proof(), told).map_err(|error| format!("{}: {error}", self.proof().display()))?;
        tell_all()
    }

    /// As one types it.
    fn command(&self) -> String {
        let env: String = self.env.iter().map(|(key, value)| format!("{key}={value} ")).collect();
        format!("{env}cargo xtask {}", self.arguments.join(" "))
    }

    /// Its line in the table of all.
    fn line(&self) -> String {
        match (self.said("commit "), self.said("`")) {
            (Some(commit), Some(command)) => {
                let (command, took) = command.split_once("`: ").unwrap_or((&command, ""));
                format!("| [{0}]({0}.md) | `{command}` | {took} | {commit} |\n", self.name)
            }
            _ => format!("| {} | `{}` | no proof is kept yet | |\n", self.name, self.command()),
        }
    }

    fn clear(&self) -> Result<(), String> {
        if self.fresh { crate::cluster::run(&["down".to_owned()]) } else { Ok(()) }
    }

    fn play(&self, log: &Path) -> std::io::Result<bool> {
        let out = File::create(log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(self.arguments).envs(self.env.iter().copied()).stdin(Stdio::null());
        command.stdout(out.try_clone()?).stderr(out);
        Ok(command.status()?.success())
    }

    fn told(&self, commit: &str, seconds: u64, log: &str) -> Result<String, String> {
        let date = today()?;
        Ok(format!(
            "# {}\n\n`{}`: passed in {seconds} s\n\ncommit {commit}, on {date}, on {}\n\n{}",
            self.name,
            self.command(),
            machine(),
            counts(log)
        ))
    }

    /// How old what was proved is, in commits.
    fn age(&self) -> String {
        let Some(commit) = self.proved() else { return format!("{:16} no proof is kept yet", self.name) };
        let since = git(&["rev-list", "--count", &format!("{commit}..HEAD")]);
        let since = since.map_or_else(|_| "unknown to this clone".to_owned(), |count| format!("{count} commits ago"));
        format!("{:16} passed on {commit}, {since}", self.name)
    }
}

/// What there is to be read first: which stage passed when.
fn tell_all() -> Result<(), String> {
    let path = format!("{PROOF}/README.md");
    let before = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let head = before.split_once("\n| ").map_or(before.trim_end(), |(head, _)| head.trim_end());
    let lines: String = STAGES.iter().map(Stage::line).collect();
    let table = format!("{head}\n\n| stage | command | outcome | commit, day, machine |\n|---|---|---|---|\n{lines}");
    fs::write(&path, table).map_err(|error| format!("{path}: {error}"))
}

fn today() -> Result<String, String> {
    let output = Command::new("date").args(["-u", "+%F"]).output().map_err(|error| format!("date: {error}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The lines of a run that count something: tests, bodies and their names, sequences, and the tables of figures.
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
            // A table's head: the one before ends here.
            let gap = if line.starts_with("| |") { "\n" } else { "" };
            told += &format!("{gap}{line}\n");
        } else if line.split_once(" passed").is_some_and(|(count, _)| count.ends_with(|c: char| c.is_ascii_digit()))
            && !line.starts_with("test result")
            || line.contains(" sequences, ")
            || line.contains(" cases")
            || line.starts_with("machine: ")
            || line.contains(".whl: ")
            || line.starts_with("- import of ")
        {
            told += &format!("- {}\n\n", line.trim_matches(['=', '-', ' ']));
        }
    }
    let bodies: Vec<&str> =
        log.lines().filter_map(|line| line.split_once(" s  ok ")).map(|(_, name)| name.trim()).collect();
    if bodies.is_empty() { told } else { told + &format!("Bodies: {}\n", bodies.join(" ")) }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = info.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} cores, {} GiB, Linux {}", kib >> 20, kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_is_kept() {
        let log = "running 3 tests\ntest result: ok. 3 passed; 0 failed\ntest result: ok. 4 passed; 0 failed\n  0.1 s  ok      burst\n\
            cluster v1.34.4: 35 passed, 0 failed\ntypes: passed in 3.0 s\n==== 20 passed in 9.1s ====\n| | a |\n| x | 1 |\n| | b |\nlab and cluster: 2000 sequences, 0 differ\n";
        let told = "- 7 tests passed\n- cluster v1.34.4: 35 passed, 0 failed\n\n- 20 passed in 9.1s\n\n\n| | a |\n| x | 1 |\n\n| | b |\n- lab and cluster: 2000 sequences, 0 differ\n\nBodies: burst\n";
        assert_eq!(counts(log), told);
    }

    #[test]
    fn each_stage_is_a_command_of_this_project() {
        for stage in STAGES {
            assert!(crate::TASKS.iter().any(|task| task.name == stage.arguments[0]), "{}", stage.name);
        }
    }
}
