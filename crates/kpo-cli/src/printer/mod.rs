//! The one who decides what goes where: data to standard output, talk to standard error; quiet, verbose, live line, colours.
//!
//! A thread of its own writes, so that a slow reader of standard output slows the log and not the watching: who prints waits for room.

mod screen;
mod visible;

pub(crate) use screen::Tone;
pub(crate) use visible::{escaped, is_steering, visible};

use crate::commands::OutputArgs;
use crate::error::{CliError, ErrorKind};
use kpo::logs::LogBatch;
use screen::{Fate, Screen, Terminals};
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loudness {
    /// Errors.
    Quiet,
    /// What matters.
    Normal,
    /// The details too.
    Verbose,
}

/// One thing to be printed.
enum Item {
    Data(Vec<u8>),
    Say(Tone, String),
    Other { container: String, batch: LogBatch },
    Status(Option<String>),
    Flush(oneshot::Sender<()>),
}

/// Items that wait for the thread at most: with batches of a log below 256 KiB, bounded memory.
const WAITING: usize = 16;

/// Prints. Dropped or finished, it brings out what it was given.
pub(crate) struct Printer {
    loudness: Loudness,
    items: Option<mpsc::Sender<Item>>,
    thread: Option<JoinHandle<()>>,
    fate: Arc<Fate>,
}

impl Printer {
    /// As the flags say.
    pub(crate) fn new(output: &OutputArgs) -> Self {
        let loudness = match (output.quiet, output.verbose) {
            (true, _) => Loudness::Quiet,
            (false, 0) => Loudness::Normal,
            (false, _) => Loudness::Verbose,
        };
        Self::start(loudness)
    }

    /// Without flags.
    pub(crate) fn plain() -> Self {
        Self::start(Loudness::Normal)
    }

    fn start(loudness: Loudness) -> Self {
        let (items, received) = mpsc::channel(WAITING);
        let fate = Arc::<Fate>::default();
        let noted = fate.clone();
        let thread = std::thread::Builder::new().name("printer".into()).spawn(move || write_all(received, noted));
        Self { loudness, items: Some(items), thread: thread.ok(), fate }
    }

    /// Bytes for standard output, as they are.
    pub(crate) async fn data(&self, bytes: Vec<u8>) {
        self.send(Item::Data(bytes)).await;
    }

    /// Lines of a container's for standard error, each with its name in front; without a name: bare.
    pub(crate) async fn other(&self, container: &str, batch: &LogBatch) {
        self.send(Item::Other { container: container.to_owned(), batch: batch.clone() }).await;
    }

    /// A line of kpo's, unless it shall be quiet.
    pub(crate) async fn say(&self, tone: Tone, text: impl Into<String>) {
        if self.loudness > Loudness::Quiet || tone == Tone::Bad {
            self.send(Item::Say(tone, text.into())).await;
        }
    }

    /// A line of kpo's that is said in any case: what is left behind.
    pub(crate) async fn must_say(&self, tone: Tone, text: impl Into<String>) {
        self.send(Item::Say(tone, text.into())).await;
    }

    /// A detail: with -v.
    pub(crate) async fn detail(&self, text: impl Into<String>) {
        if self.loudness >= Loudness::Verbose {
            self.send(Item::Say(Tone::Plain, text.into())).await;
        }
    }

    /// The live line, where there is a terminal. It waits for nobody: the next one is near.
    pub(crate) fn status(&self, text: Option<String>) {
        if let Some(items) = self.items.as_ref().filter(|_| self.loudness > Loudness::Quiet) {
            let _ = items.try_send(Item::Status(text));
        }
    }

    /// Takes the live line away, for good where none is set after it.
    pub(crate) async fn end_status(&self) {
        self.send(Item::Status(None)).await;
    }

    /// Comes when nobody reads standard output any more. Cancel safe.
    pub(crate) async fn closed(&self) {
        self.fate.closed.cancelled().await;
    }

    /// Whether standard output could not be written, which was said. Of what is out: flush before.
    pub(crate) fn has_lost_output(&self) -> bool {
        self.fate.lost.get().is_some()
    }

    /// Waits until all that was given so far is out.
    pub(crate) async fn flush(&self) {
        let (out, is_out) = oneshot::channel();
        self.send(Item::Flush(out)).await;
        // Dropped: the thread is gone, and nothing more comes out.
        let _ = is_out.await;
    }

    /// An error, its hints below it, and the end.
    pub(crate) fn error(self, error: &CliError) {
        let text = error.text();
        if let Some(items) = &self.items {
            let _ = items.blocking_send(Item::Status(None));
            let _ = items.blocking_send(Item::Say(Tone::Bad, text));
        }
    }

    /// Waits until all is out.
    pub(crate) async fn finish(mut self) {
        self.send(Item::Status(None)).await;
        self.items = None;
        let thread = self.thread.take();
        let _ = tokio::task::spawn_blocking(move || thread.map(JoinHandle::join)).await;
    }

    async fn send(&self, item: Item) {
        if let Some(items) = &self.items {
            // Only a panic of the thread closes the channel: nothing can be printed then.
            let _ = items.send(item).await;
        }
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        self.items = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Writes items until the last sender is gone; brings them out whenever nothing more waits.
fn write_all(mut items: mpsc::Receiver<Item>, fate: Arc<Fate>) {
    let out = io::BufWriter::with_capacity(64 << 10, io::stdout());
    let err = io::BufWriter::new(io::stderr());
    let mut screen = Screen::new(out, err, terminals(), fate);
    while let Some(item) = items.blocking_recv() {
        write(&mut screen, item);
        while let Ok(item) = items.try_recv() {
            write(&mut screen, item);
        }
        screen.flush();
    }
    screen.status(None);
    screen.flush();
}

fn write<O: Write, E: Write>(screen: &mut Screen<O, E>, item: Item) {
    match item {
        Item::Data(bytes) => screen.data(&bytes),
        Item::Say(tone, text) => screen.say(tone, &text),
        Item::Other { container, batch } => {
            for line in batch.iter() {
                screen.other(&container, line.bytes, line.continues);
            }
        }
        Item::Status(text) => screen.status(text),
        Item::Flush(out) => {
            screen.flush();
            let _ = out.send(());
        }
    }
}

fn terminals() -> Terminals {
    let colour = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
    let err = io::stderr().is_terminal();
    let live = err && std::env::var_os("TERM").is_none_or(|kind| kind != "dumb");
    Terminals { out: io::stdout().is_terminal(), err, live, colour }
}

/// Writes all of it to standard output; a closed one is no failure.
pub(crate) fn to_stdout(bytes: &[u8]) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    written(out.write_all(bytes).and_then(|()| out.flush()))
}

/// The same, without its styles where standard output does not take them.
pub(crate) fn styled_to_stdout(text: &str) -> Result<(), CliError> {
    let mut out = anstream::AutoStream::auto(io::stdout().lock());
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

fn written(written: io::Result<()>) -> Result<(), CliError> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::because(ErrorKind::Local, "standard output cannot be written", &error))
        }
        _ => Ok(()),
    }
}

/// A line on standard error, its escape sequences made harmless; a closed one is no failure.
pub(crate) fn to_stderr(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", visible(text));
}
