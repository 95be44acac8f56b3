//! The lab's process, from the outside.

use crate::Error;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A lab in another process; it ends with this value.
pub(crate) struct LabProcess {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    folder: PathBuf,
    pub(crate) at: Address,
}

/// Where it is to be found.
#[derive(Deserialize)]
pub(crate) struct Address {
    kubeconfig: String,
    pub(crate) url: String,
    pub(crate) token: String,
}

/// A request that it saw.
#[derive(Debug, Deserialize)]
pub(crate) struct Seen {
    pub(crate) at: i64,
    pub(crate) verb: String,
    pub(crate) resource: String,
    pub(crate) name: String,
    pub(crate) agent: String,
}

/// A write about a pod whose container has ended, or that is `gone`.
#[derive(Debug, Deserialize)]
pub(crate) struct Change {
    pub(crate) at: i64,
    pub(crate) pod: String,
    pub(crate) what: String,
}

impl LabProcess {
    pub(crate) fn start(scale: u64) -> Result<Self, Error> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["lab", &scale.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let input = child.stdin.take().ok_or("a lab without standard input")?;
        let mut output = BufReader::new(child.stdout.take().ok_or("a lab without standard output")?);
        let at: Address = answer(&mut output)?;
        let folder = std::env::temp_dir().join(format!("kpo-bench-{}", child.id()));
        std::fs::create_dir_all(&folder)?;
        let lab = Self { child, input, output, folder, at };
        std::fs::write(lab.kubeconfig(), &lab.at.kubeconfig)?;
        Ok(lab)
    }

    /// The admin's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("config")
    }

    /// A command that finds the lab by its environment, and a home of its own.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", &self.folder);
        command
    }

    /// All requests so far.
    pub(crate) fn journal(&mut self) -> Result<Vec<Seen>, Error> {
        self.ask("journal")
    }

    /// All writes so far that show an end.
    pub(crate) fn writes(&mut self) -> Result<Vec<Change>, Error> {
        self.ask("writes")
    }

    /// Begins to break the log that is being read, so often; [`LabProcess::cuts`] waits for the last.
    pub(crate) fn cut(&mut self, times: u64) -> Result<(), Error> {
        Ok(writeln!(self.input, "cut {times}")?)
    }

    /// How often it was broken.
    pub(crate) fn cuts(&mut self) -> Result<u64, Error> {
        let done: serde_json::Value = answer(&mut self.output)?;
        Ok(done["cuts"].as_u64().unwrap_or_default())
    }

    fn ask<T: DeserializeOwned>(&mut self, what: &str) -> Result<T, Error> {
        writeln!(self.input, "{what}")?;
        answer(&mut self.output)
    }
}

fn answer<T: DeserializeOwned>(output: &mut BufReader<ChildStdout>) -> Result<T, Error> {
    let mut line = String::new();
    output.read_line(&mut line)?;
    serde_json::from_str(&line).map_err(|error| format!("the lab's answer: {error}").into())
}

impl Drop for LabProcess {
    fn drop(&mut self) {
        // Nothing is lost with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
