//! `kpo lab`

use super::Done;
use crate::connect::block_on;
use crate::error::{CliError, ErrorKind};
use crate::labs::{self, Refusals, RunningLab};
use crate::options::OnSigterm;
use crate::printer::{Printer, Tone};
use crate::signals::Signals;
use clap::Args;
use kpo::identity;
use kpo_core::reason::exit;
use kpo_lab::ServeError;
use std::io::ErrorKind as ErrorKindOfIo;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

/// Run an embedded cluster
///
/// A Kubernetes API server, scheduler, controllers and kubelets in one process, on the loopback interface: containers are local
/// processes, and any image name "pulls". It runs until Ctrl-C, or as long as the command does.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LabArgs {
    /// What happens in it: quiet, preemption, or a script's file (kpo help scripts)
    #[arg(long, value_name = "SCRIPT", default_value = "quiet", help_heading = "How")]
    pub(crate) script: String,
    /// Write its kubeconfig to this file, which must not be there yet; it is removed at the end. Default: one of its own
    #[arg(long, value_name = "FILE", help_heading = "How")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Run this command with KUBECONFIG set, and exit with its exit code
    #[arg(last = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  kpo lab --kubeconfig lab.yaml                   Runs until Ctrl-C; elsewhere: kubectl --kubeconfig lab.yaml get pods -A
  kpo lab --script preemption -- kubectl get nodes
  kpo lab --script examples/lab/evicted-by-drain.lab -- kpo run examples/orange-juice.yaml

'kpo help scripts' says what can be written into one.";

pub(super) fn lab(args: LabArgs) -> Done {
    block_on(async move {
        let mut signals = Signals::catch(OnSigterm::Cancel)?;
        let (lab, refusals) = signals.during("no lab was started", labs::start(&args.script)).await??;
        let kubeconfig = OwnFile::of(&lab, args.kubeconfig)?;
        match args.command.split_first() {
            Some((program, arguments)) => command(program, arguments, &kubeconfig.path, signals, refusals).await,
            None => until_signal(&lab.url().unwrap_or_default(), &kubeconfig.path, signals, refusals).await,
        }
    })
}

/// Says how to use it, and waits for a signal.
async fn until_signal(url: &str, kubeconfig: &Path, mut signals: Signals, mut refusals: Refusals) -> Done {
    let printer = Printer::plain();
    let path = kubeconfig.display();
    printer.say(Tone::Plain, format!("The lab runs at {url}, until Ctrl-C. Elsewhere:"));
    for line in [
        format!("export KUBECONFIG={path}"),
        "kubectl get pods -A".to_owned(),
        "kpo run --image busybox -- echo hello".to_owned(),
    ] {
        printer.say(Tone::Plain, format!("  {line}"));
    }
    loop {
        tokio::select! {
            _ = signals.next() => break,
            why = refusals.next() => printer.say(Tone::Odd, why),
        }
    }
    printer.finish().await;
    Ok(exit::SUCCESS)
}

/// Runs the command with the lab's kubeconfig; its exit code is ours, and signals are handed on to it.
async fn command(
    program: &str,
    arguments: &[String],
    kubeconfig: &Path,
    mut signals: Signals,
    mut refusals: Refusals,
) -> Done {
    let printer = Printer::plain();
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).env("KUBECONFIG", kubeconfig).kill_on_drop(true);
    let unable = |error| CliError::new(ErrorKind::Input, format!("cannot run {program}: {error}"));
    let mut child = command.spawn().map_err(unable)?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status.map_err(unable)?,
            caught = signals.next() => hand_on(&child, caught.number()),
            why = refusals.next() => printer.say(Tone::Odd, why),
        }
    };
    printer.finish().await;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(code.unwrap_or(1))
}

/// Sends a signal on. Ctrl-C and a hangup the terminal has told the command too: a second one would mean more than the first.
fn hand_on(child: &tokio::process::Child, signal: i32) {
    let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) else { return };
    if signal == libc::SIGTERM || !is_in_foreground() {
        #[allow(unsafe_code)]
        // SAFETY: it takes two numbers. The child is ours and was not waited for yet, so its number is no other's.
        unsafe {
            libc::kill(pid, signal)
        };
    }
}

/// Whether the terminal, if there is one, sends its signals to our process group, to which the command belongs.
fn is_in_foreground() -> bool {
    let streams = [libc::STDIN_FILENO, libc::STDOUT_FILENO, libc::STDERR_FILENO];
    #[allow(unsafe_code)]
    // SAFETY: they take a number, and answer with one.
    let is = |stream: &i32| unsafe { libc::tcgetpgrp(*stream) == libc::getpgrp() };
    streams.iter().any(is)
}

/// A file that goes with the lab.
struct OwnFile {
    path: PathBuf,
}

impl OwnFile {
    /// The lab's kubeconfig, there or in a place of its own. A file that is there is somebody's: it is left alone.
    fn of(lab: &RunningLab, asked: Option<PathBuf>) -> Result<Self, CliError> {
        let own = || std::env::temp_dir().join(format!("kpo-lab-{}.yaml", identity::nonce()));
        let path = asked.unwrap_or_else(own);
        match lab.write_kubeconfig(&path) {
            Ok(()) => Ok(Self { path }),
            Err(ServeError::Kubeconfig { source, .. }) if source.kind() == ErrorKindOfIo::AlreadyExists => {
                let text = format!("{} is there already, and a lab writes over no file", path.display());
                Err(CliError::input(text).hint("Name another, or remove it where a lab left it."))
            }
            Err(error) => Err(CliError::because(ErrorKind::Local, "the lab cannot start", &error)),
        }
    }
}

impl Drop for OwnFile {
    fn drop(&mut self) {
        // Somebody may have removed it.
        let _ = std::fs::remove_file(&self.path);
    }
}
