//! `cargo xtask bench`: builds the command line and the benchmark as they are released, and runs the latter.

use crate::run::{Step, all, cargo};
use std::path::Path;
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
    let target = std::env::current_exe().map_err(|error| format!("this program's place: {error}"))?;
    let target = target.parent().and_then(Path::parent).ok_or("this program lies outside of a target folder")?;
    all([Step::new("figures", Command::new(target.join(folder).join("kpo-bench"))).args(arguments)])
}
