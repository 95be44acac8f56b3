//! A real cluster on this machine: `cluster/cluster`, whose README says how it lives.

use std::process::Command;

pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let status = Command::new("cluster/cluster")
        .args(arguments)
        .status()
        .map_err(|error| format!("cluster/cluster: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cluster {} failed ({status})", arguments.join(" "))) }
}
