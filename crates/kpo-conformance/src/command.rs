//! kpo as a user runs it: a process, its output, its exit code.

use crate::Error;
use crate::cluster::Namespace;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Output, Stdio};
use tokio::process::{Child, Command};

/// A command under way.
pub(crate) struct Started(Child);

/// What a command printed and came to.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Namespace<'_> {
    /// Starts `kpo COMMAND -n NAMESPACE ARGUMENTS…`.
    pub(crate) fn start(&self, command: &str, arguments: &[impl AsRef<OsStr>]) -> Result<Started, Error> {
        self.start_as(self.kubeconfig(), command, arguments)
    }

    /// The same in another namespace than our own, in which kpo has no rights: as who has the target's kubeconfig.
    pub(crate) fn within(
        &self,
        namespace: &str,
        command: &str,
        arguments: &[impl AsRef<OsStr>],
    ) -> Result<Started, Error> {
        self.spawn(&self.target.kubeconfig, namespace, command, arguments)
    }

    /// The same as somebody else.
    pub(crate) fn start_as(
        &self,
        kubeconfig: &Path,
        command: &str,
        arguments: &[impl AsRef<OsStr>],
    ) -> Result<Started, Error> {
        self.spawn(kubeconfig, &self.name, command, arguments)
    }

    fn spawn(
        &self,
        kubeconfig: &Path,
        namespace: &str,
        command: &str,
        arguments: &[impl AsRef<OsStr>],
    ) -> Result<Started, Error> {
        // Started in the background of a shell, it would inherit that these are ignored, and heed that.
        let mut kpo = Command::new("env");
        kpo.arg("--default-signal=HUP,INT").arg(&self.target.kpo);
        kpo.args([command, "--namespace", namespace]).args(arguments).env("KUBECONFIG", kubeconfig);
        kpo.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        Ok(Started(kpo.spawn()?))
    }

    /// Runs a command to its end.
    pub(crate) async fn kpo(&self, command: &str, arguments: &[impl AsRef<OsStr>]) -> Result<Ended, Error> {
        self.start(command, arguments)?.ended().await
    }
}

impl Started {
    /// Sends a signal, by the name that `kill` gives it.
    pub(crate) async fn signal(&self, name: &str) -> Result<(), Error> {
        let pid = self.0.id().ok_or("kpo has ended before it was signalled")?.to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status().await?;
        if status.success() { Ok(()) } else { Err(format!("kill -s {name} {pid}: {status}").into()) }
    }

    /// Kills it when something comes to pass, unless it ends before; what it had said until then.
    pub(crate) async fn killed_when(mut self, comes: impl Future<Output = ()>) -> Result<Ended, Error> {
        tokio::select! {
            () = comes => {
                self.0.start_kill()?;
            }
            _ = self.0.wait() => (),
        }
        self.ended().await
    }

    pub(crate) async fn ended(self) -> Result<Ended, Error> {
        let Output { status, stdout, stderr } = self.0.wait_with_output().await?;
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Ok(Ended { code: status.code(), stdout: text(&stdout), stderr: text(&stderr) })
    }
}

impl Ended {
    /// Fails with all that kpo said, unless the exit code is this one.
    pub(crate) fn exits(self, code: i32) -> Result<Self, Error> {
        if self.code == Some(code) { Ok(self) } else { Err(format!("expected exit {code}: {self}").into()) }
    }

    /// Fails unless stdout is just this.
    pub(crate) fn prints(self, stdout: &str) -> Result<Self, Error> {
        if self.stdout == stdout { Ok(self) } else { Err(format!("expected {stdout:?} on stdout: {self}").into()) }
    }

    /// Fails unless stderr holds this.
    pub(crate) fn says(self, words: &str) -> Result<Self, Error> {
        if self.stderr.contains(words) { Ok(self) } else { Err(format!("expected {words:?} on stderr: {self}").into()) }
    }

    /// Fails if stderr holds this.
    pub(crate) fn never_says(self, words: &str) -> Result<Self, Error> {
        if self.stderr.contains(words) { Err(format!("{words:?} on stderr: {self}").into()) } else { Ok(self) }
    }

    /// Fails unless stderr has this line so often: with `-o json` what the program prints is there.
    pub(crate) fn has_line(self, line: &str, count: usize) -> Result<Self, Error> {
        let is = self.stderr.lines().filter(|is| *is == line).count();
        if is == count { Ok(self) } else { Err(format!("{line:?} {is} times, not {count}: {self}").into()) }
    }

    /// Fails unless the attempts came to just these verdicts: class, of a disruption its cause and what started, reason, and the exit code if the
    /// program's is known. `disrupted preemption never preempted`, `failed programFailed 3`.
    pub(crate) fn came_to(self, expected: &[&str]) -> Result<Self, Error> {
        let outcome = self.outcome()?;
        let is: Vec<String> =
            outcome["attempts"].as_array().into_iter().flatten().map(|one| in_words(&one["verdict"])).collect();
        if is == expected { Ok(self) } else { Err(format!("expected {expected:?}, it came to {is:?}: {self}").into()) }
    }

    /// Fails unless the outcome is of this reason, and says this in its one line.
    pub(crate) fn because(self, reason: &str, words: &str) -> Result<Self, Error> {
        let outcome = self.outcome()?;
        let is_so = outcome["reason"] == reason && outcome["message"].as_str().is_some_and(|line| line.contains(words));
        if is_so { Ok(self) } else { Err(format!("expected {reason} and {words:?}: {self}").into()) }
    }

    /// The outcome that `-o json` prints.
    pub(crate) fn outcome(&self) -> Result<Value, Error> {
        serde_json::from_str(&self.stdout).map_err(|error| format!("no outcome ({error}): {self}").into())
    }
}

fn in_words(verdict: &Value) -> String {
    let words = ["class", "cause", "started", "reason"].map(|key| verdict[key].as_str().map(str::to_owned));
    let code = verdict["exitCode"].as_i64().map(|code| code.to_string());
    words.into_iter().chain([code]).flatten().collect::<Vec<_>>().join(" ")
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit {:?}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }
}
