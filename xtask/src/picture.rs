//! The picture in the README: what a real run of the main job printed.

use crate::run::cargo;
use std::process::{Command, Stdio};

const README: &str = "README.md";
const BEGIN: &str = "<!-- picture: `cargo xtask picture` writes it from a real run -->\n";
const END: &str = "<!-- /picture -->";
/// The main job, as the README names it.
const RUN: [&str; 3] = ["run", "--lab=preemption", "examples/orange-juice.yaml"];

/// Runs the main job and puts what it printed into the README.
pub(crate) fn write(_: &[String]) -> Result<(), String> {
    let readme = std::fs::read_to_string(README).map_err(|error| format!("{README}: {error}"))?;
    let (before, rest) = readme.split_once(BEGIN).ok_or(format!("{README} has no line {BEGIN:?}"))?;
    let (_, after) = rest.split_once(END).ok_or(format!("{README} has no {END:?}"))?;
    let picture = format!("```console\n$ kpo {}\n{}```\n", RUN.join(" "), printed()?);
    std::fs::write(README, format!("{before}{BEGIN}{picture}{END}{after}"))
        .map_err(|error| format!("{README}: {error}"))
}

/// What it prints, stdout and stderr in the order in which they come.
fn printed() -> Result<String, String> {
    let built = cargo(&["build", "--quiet", "--locked", "--package", "kpo-cli"]).status();
    if !built.is_ok_and(|status| status.success()) {
        return Err("the command line does not build".to_owned());
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec target/debug/kpo \"$@\" 2>&1", "kpo"]).args(RUN).stderr(Stdio::inherit());
    let output = shell.output().map_err(|error| format!("sh: {error}"))?;
    if !output.status.success() {
        return Err(format!("the main job failed: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| error.to_string())
}
