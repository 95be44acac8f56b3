//! The container that hands a result over: it runs for ever, and its own script is run for real when it is told to end, or by exec.
//!
//! The script is the one that kpo puts into the pod: nothing here knows what a report looks like.

use bytes::Bytes;
use kpo::result::CONTAINER;
use kpo_lab::runtime::ExecRequest;
use kpo_lab::scripted::{Behaviour, Ending, ExecReply, LastWords, Matching, Message, OnTerm, View};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Where the script waits to be told to end; what stands before it makes its report.
const WAITS: &str = "trap report TERM INT";

/// The rule for scripted containers.
pub(crate) fn rule() -> (Matching, Behaviour) {
    let ending = Ending {
        message: Message::Made(Arc::new(|view| report(view).0)),
        last_words: Some(LastWords(Arc::new(|view| report(view).1))),
        ..Ending::default()
    };
    let behaviour = Behaviour {
        on_term: OnTerm::Ends { after: Duration::ZERO, ending },
        exec: Some(Arc::new(|request, view| Some(answer(request, view)))),
        ..Behaviour::forever()
    };
    (Matching::container(CONTAINER), behaviour)
}

/// Termination message and standard output of a container that is told to end.
fn report(view: &View<'_>) -> (Bytes, Bytes) {
    let words = view.spec().argv();
    // One that makes no report just ends.
    let Some((script, _)) = words[2].split_once(WAITS) else { return Default::default() };
    let (folder, parameters) = (Folder::new(view, &words), &words[3..]);
    let message = folder.0.join("message");
    let mut command = Command::new(&words[0]);
    command.arg("-c").arg(format!("{script}\nreport")).args(parameters.iter().map(|word| folder.place(word)));
    let output = run(command.arg(&message));
    (std::fs::read(&message).unwrap_or_default().into(), output.stdout.into())
}

/// What a command prints that is run in the container.
fn answer(request: &ExecRequest, view: &View<'_>) -> ExecReply {
    let folder = Folder::new(view, &request.command);
    let words: Vec<String> = request.command.iter().map(|word| folder.place(word)).collect();
    let output = run(Command::new(&words[0]).args(&words[1..]));
    let exit_code = output.status.code().unwrap_or(255);
    ExecReply { stdout: output.stdout.into(), stderr: output.stderr.into(), exit_code }
}

fn run(command: &mut Command) -> Output {
    // A machine without a shell cannot run the scripts' own tests either.
    command.stdin(Stdio::null()).output().expect("the container's shell, on this machine")
}

/// The result's file as the container sees it, in a folder of this machine.
struct Folder(PathBuf, String);

impl Folder {
    /// The file is the first path of a command.
    fn new(view: &View<'_>, words: &[String]) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("kpo-scenario-{}-{number}", std::process::id()));
        let file = words.iter().find(|word| word.starts_with('/')).cloned().unwrap_or_default();
        std::fs::create_dir_all(&path).expect("a folder for a result");
        let folder = Self(path, file);
        if let Some(content) = view.file(&folder.1) {
            std::fs::write(folder.place(&folder.1), content).expect("the result's file");
        }
        folder
    }

    /// A path of the container's, where it is the file's.
    fn place(&self, word: &str) -> String {
        let rest = word.strip_prefix(self.1.as_str()).filter(|_| !self.1.is_empty());
        let file = |rest| Path::new(&self.0).join("result").display().to_string() + rest;
        rest.map_or_else(|| word.to_owned(), file)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Only tidiness is lost where this fails.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
