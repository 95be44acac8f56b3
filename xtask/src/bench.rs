//! `cargo xtask bench`: builds the command line and the benchmark as they are released, and runs the latter.

use crate::cluster;
use crate::run::{Step, all, cargo};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Names of groups of figures, `--check` (a figure that misses its target is an error), `--small` (a debug build and small sizes, to try
/// the benchmark itself).
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let is_small = arguments.iter().any(|argument| argument == "--small");
    let profile = if is_small { "dev" } else { "release" };
    let build = ["build", "--locked", "--profile", profile, "--package", "kpo-cli", "--package", "kpo-bench"];
    all([Step::new("build", cargo(&build))])?;
    // Not by `cargo run`: for one package alone features may differ, and all would be built anew.
    let folder = if is_small { "debug" } else { "release" };
    all([Step::new("figures", Command::new(target()?.join(folder).join("kpo-bench"))).args(arguments)])
}

/// The target folder in which this program lies, and so all that it builds.
pub(crate) fn target() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("this program's place: {error}"))?;
    let target = own.parent().and_then(Path::parent).ok_or("this program lies outside of a target folder")?;
    Ok(target.to_owned())
}

/// Many tasks at once on simulated nodes of the real cluster, which is brought up.
pub(crate) fn crowd(arguments: &[String]) -> Result<(), String> {
    let count = arguments.first().map_or("500", String::as_str);
    let build = ["build", "--locked", "--release", "--package", "kpo-cli", "--package", "kpo-bench"];
    all([Step::new("build", cargo(&build))])?;
    for arguments in [&["up"][..], &["start", "kwok"]] {
        cluster::run(&arguments.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())?;
    }
    let figures = Command::new(target()?.join("release/kpo-bench"));
    all([Step::new("crowd", figures).args(&["crowd".to_owned(), cluster::folder(), count.to_owned()])])
}
