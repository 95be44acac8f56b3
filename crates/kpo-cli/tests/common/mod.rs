//! Runs the built `kpo` with a cleared environment.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// `kpo` with these arguments, in the folder, standard input given.
pub(crate) fn kpo_in(folder: &Path, arguments: &[&str], input: &str) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kpo"));
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("COLUMNS", "100")
        .env("HOME", "/nonexistent");
    command.current_dir(folder).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the built kpo");
    let mut stdin = child.stdin.take().expect("a pipe");
    // Who does not read its input closes it: no failure.
    let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("its end");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// `kpo` with these arguments.
#[allow(dead_code)]
pub(crate) fn kpo(arguments: &[&str]) -> Ran {
    kpo_in(Path::new(env!("CARGO_MANIFEST_DIR")), arguments, "")
}

/// The recordings of a real cluster.
#[allow(dead_code)]
pub(crate) fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../kpo-core/tests/recordings")
}
