//! Runs the built `kpo` with a cleared environment.

#![allow(dead_code)] // each test file uses a part

pub(crate) mod cluster;

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

/// What a run came to.
#[must_use]
pub(crate) struct Ran {
    /// Exit code.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) out: String,
    /// Standard error.
    pub(crate) err: String,
}

impl Ran {
    /// All of it, for a snapshot.
    pub(crate) fn transcript(&self) -> String {
        let err: String = self.err.lines().map(|line| format!("│ {line}\n")).collect();
        format!("{}{err}exit {}\n", self.out, self.code.map_or("by signal".to_owned(), |code| code.to_string()))
    }
}

/// The built `kpo`, with no signal ignored: a shell without job control has SIGINT ignored by what it starts in the background.
fn program() -> Command {
    let ignores_signals = std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        // SIGHUP and SIGINT are the first two.
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 0b11 != 0)
    });
    if !ignores_signals {
        return Command::new(env!("CARGO_BIN_EXE_kpo"));
    }
    let mut command = Command::new("env");
    command.args(["--default-signal=HUP,INT", env!("CARGO_BIN_EXE_kpo")]);
    command
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    prepared(program(), folder, arguments)
}

fn prepared(mut command: Command, folder: &Path, arguments: &[&str]) -> Command {
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("COLUMNS", "100").env("HOME", "/nonexistent").current_dir(folder).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `kpo` with these arguments, in the folder, standard input given.
pub(crate) fn kpo_in(folder: &Path, arguments: &[&str], input: &str) -> Ran {
    let mut child = command(folder, arguments).spawn().expect("the built kpo");
    let mut stdin = child.stdin.take().expect("a pipe");
    // Who does not read its input closes it: no failure.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("its end");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// `kpo` with these arguments, under way.
pub(crate) fn spawn(arguments: &[&str]) -> Child {
    command(Path::new("/"), arguments).spawn().expect("the built kpo")
}

/// `kpo` with these arguments, under way, started as `nohup` does: with that signal ignored.
pub(crate) fn spawn_ignoring(name: &str, arguments: &[&str]) -> Child {
    // Not those, too, that these tests may have been started with.
    let mut kpo = Command::new("env");
    kpo.arg("--default-signal=HUP,INT").arg(format!("--ignore-signal={name}")).arg(env!("CARGO_BIN_EXE_kpo"));
    prepared(kpo, Path::new("/"), arguments).spawn().expect("kpo, by env")
}

/// `kpo` with these variables and arguments; standard output goes there, if it is given.
pub(crate) fn kpo_with(variables: &[(&str, &OsStr)], arguments: &[&str], out: Option<std::fs::File>) -> Ran {
    let mut command = command(Path::new("/"), arguments);
    command.envs(variables.iter().copied()).stdin(Stdio::null());
    if let Some(out) = out {
        command.stdout(out);
    }
    let output = command.output().expect("the built kpo");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// Sends a signal.
pub(crate) fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// The streams of a `kpo` that is under way.
pub(crate) fn streams(child: &mut Child) -> Rest {
    wait_for_line(child, "")
}

/// The streams of a `kpo` that is under way.
pub(crate) struct Rest {
    out: BufReader<ChildStdout>,
    err: BufReader<ChildStderr>,
    said: String,
}

/// Waits until standard output shows that line.
pub(crate) fn wait_for_line(child: &mut Child, wanted: &str) -> Rest {
    let (out, err) = (child.stdout.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
    let mut rest = Rest { out: BufReader::new(out), err: BufReader::new(err), said: String::new() };
    if !wanted.is_empty() {
        rest.wait_for_line(wanted);
    }
    rest
}

impl Rest {
    /// Waits until standard output shows that line.
    pub(crate) fn wait_for_line(&mut self, wanted: &str) {
        let mut line = String::from("none yet");
        while line.trim_end() != wanted {
            line.clear();
            assert!(self.out.read_line(&mut line).expect("UTF-8") > 0, "{wanted:?} never came");
        }
    }

    /// Waits until standard error has said that.
    pub(crate) fn wait_for_error(&mut self, wanted: &str) {
        while !self.said.contains(wanted) {
            assert!(self.err.read_line(&mut self.said).expect("UTF-8") > 0, "{wanted:?} was never said: {}", self.said);
        }
    }

    /// What follows on standard error, and the exit code, of one whose standard output nobody reads.
    pub(crate) fn end_unread(mut self, mut child: Child) -> (String, Option<i32>) {
        cluster::until(|| child.try_wait().expect("its end").is_some());
        self.err.read_to_string(&mut self.said).expect("UTF-8");
        (self.said, child.wait().expect("its end").code())
    }

    /// What follows on both streams, and the exit code.
    pub(crate) fn end(mut self, mut child: Child) -> (String, String, Option<i32>) {
        let mut out = String::new();
        self.out.read_to_string(&mut out).expect("UTF-8");
        self.err.read_to_string(&mut self.said).expect("UTF-8");
        (out, self.said, child.wait().expect("its end").code())
    }
}

/// `kpo` with these arguments.
pub(crate) fn kpo(arguments: &[&str]) -> Ran {
    kpo_in(Path::new(env!("CARGO_MANIFEST_DIR")), arguments, "")
}

/// The recordings of a real cluster.
pub(crate) fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kpo-core/tests/recordings")
}
