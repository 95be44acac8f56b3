//! The one who decides what goes where: data to standard output, talk to standard error; quiet, verbose, live line, colours.
//!
//! A thread of its own writes: to print waits for nobody. Who has much to print, such as a log, waits for room before the next piece, and hears
//! signals meanwhile: a reader that does not read slows the log, and nothing else.

mod screen;
mod visible;

pub(crate) use screen::Tone;
pub(crate) use visible::{escaped, is_steering, visible};

use crate::commands::OutputArgs;
use crate::error::{CliError, ErrorKind};
use futures::FutureExt as _;
use kpo::logs::LogBatch;
use screen::{Fate, Screen, Terminals};
use std::cell::Cell;
use std::future::Future;
use std::io::{self, IsTerminal, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

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

/// Comes when that is out.
pub(crate) struct Flushed(oneshot::Receiver<()>);

impl Future for Flushed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // Dropped: the thread is gone, and nothing more comes out.
        self.0.poll_unpin(context).map(|_| ())
    }
}

/// Items that may wait for the thread where there is said to be room: with batches of a log below 256 KiB, bounded memory.
const WAITING: u64 = 16;

/// How long one who leaves waits for what is said last.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// Prints. Dropped or finished, it brings out what it was given.
pub(crate) struct Printer {
    loudness: Loudness,
    items: Option<mpsc::UnboundedSender<Item>>,
    /// How many items were given to the thread.
    given: Cell<u64>,
    /// How many it is done with.
    done: watch::Receiver<u64>,
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
        let (items, received) = mpsc::unbounded_channel();
        let (count, done) = watch::channel(0);
        let fate = Arc::<Fate>::default();
        let noted = fate.clone();
        let thread =
            std::thread::Builder::new().name("printer".into()).spawn(move || write_all(received, &count, noted));
        Self { loudness, items: Some(items), given: Cell::new(0), done, thread: thread.ok(), fate }
    }

    /// Comes when little enough waits to be written. Cancel safe.
    pub(crate) async fn room(&self) {
        // Only a panic of the thread closes it: nothing can be printed then, and nothing need wait.
        let _ = self.done.clone().wait_for(|done| self.given.get() - done < WAITING).await;
    }

    /// Whether little enough waits to be written.
    pub(crate) fn has_room(&self) -> bool {
        self.given.get() - *self.done.borrow() < WAITING
    }

    /// Bytes for standard output, as they are.
    pub(crate) fn data(&self, bytes: Vec<u8>) {
        self.send(Item::Data(bytes));
    }

    /// Lines of a container's for standard error, each with its name in front; without a name: bare.
    pub(crate) fn other(&self, container: &str, batch: &LogBatch) {
        self.send(Item::Other { container: container.to_owned(), batch: batch.clone() });
    }

    /// A line of kpo's, unless it shall be quiet.
    pub(crate) fn say(&self, tone: Tone, text: impl Into<String>) {
        if self.loudness > Loudness::Quiet || tone == Tone::Bad {
            self.send(Item::Say(tone, text.into()));
        }
    }

    /// A line of kpo's that is said in any case: what is left behind.
    pub(crate) fn must_say(&self, tone: Tone, text: impl Into<String>) {
        self.send(Item::Say(tone, text.into()));
    }

    /// A detail: with -v.
    pub(crate) fn detail(&self, text: impl Into<String>) {
        if self.loudness >= Loudness::Verbose {
            self.send(Item::Say(Tone::Plain, text.into()));
        }
    }

    /// The live line, where there is a terminal. Left out where much waits to be written: the next one is near.
    pub(crate) fn status(&self, text: Option<String>) {
        if self.loudness > Loudness::Quiet && self.has_room() {
            self.send(Item::Status(text));
        }
    }

    /// Takes the live line away, for good where none is set after it.
    pub(crate) fn end_status(&self) {
        self.send(Item::Status(None));
    }

    /// Comes when nobody reads standard output any more. Cancel safe.
    pub(crate) async fn closed(&self) {
        self.fate.closed.cancelled().await;
    }

    /// Whether standard output could not be written, which was said. Of what is out: flush before.
    pub(crate) fn has_lost_output(&self) -> bool {
        self.fate.lost.get().is_some()
    }

    /// Comes when all that was given so far is out. Cancel safe.
    pub(crate) fn flush(&self) -> Flushed {
        let (out, is_out) = oneshot::channel();
        self.send(Item::Flush(out));
        Flushed(is_out)
    }

    /// An error, its hints below it, and the end.
    pub(crate) fn error(self, error: &CliError) {
        self.end_status();
        self.send(Item::Say(Tone::Bad, error.text()));
    }

    /// Waits until all is out.
    pub(crate) async fn finish(mut self) {
        self.end_status();
        self.items = None;
        let thread = self.thread.take();
        let _ = tokio::task::spawn_blocking(move || thread.map(JoinHandle::join)).await;
    }

    /// The last words of one who leaves: said in any case, and soon. Where standard output is stuck, they pass it by. Whether all is out.
    pub(crate) async fn last_words(&self, tone: Tone, lines: Vec<String>) -> bool {
        self.end_status();
        lines.iter().for_each(|line| self.must_say(tone, line));
        if tokio::time::timeout(SOON, self.flush()).await.is_ok() {
            return true;
        }
        let past = tokio::task::spawn_blocking(move || lines.iter().for_each(|line| to_stderr(line)));
        // A terminal that takes nothing more must not hold this up.
        let _ = tokio::time::timeout(SOON, past).await;
        false
    }

    /// Leaves it to the thread what of it still comes out.
    pub(crate) fn abandon(mut self) {
        drop(self.thread.take());
    }

    fn send(&self, item: Item) {
        if let Some(items) = &self.items {
            // Only a panic of the thread closes the channel: nothing can be printed then.
            let _ = items.send(item);
            self.given.set(self.given.get() + 1);
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
fn write_all(mut items: mpsc::UnboundedReceiver<Item>, count: &watch::Sender<u64>, fate: Arc<Fate>) {
    let out = io::BufWriter::with_capacity(64 << 10, io::stdout());
    let err = io::BufWriter::new(io::stderr());
    let mut screen = Screen::new(out, err, terminals(), fate);
    while let Some(item) = items.blocking_recv() {
        let mut next = Ok(item);
        while let Ok(item) = next {
            write(&mut screen, item);
            count.send_modify(|count| *count += 1);
            next = items.try_recv();
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
