//! Two streams and a live line, written in the order of what is said.

use super::visible::{visible, visible_lines};
use anstyle::{AnsiColor, Style};
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use tokio_util::sync::CancellationToken;

/// How a line of kpo's own is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// A station on the way.
    Plain,
    /// An end that was hoped for.
    Good,
    /// An end that was not.
    Bad,
    /// What is worth a look, but no end.
    Odd,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Tone::Plain => Style::new(),
            Tone::Good => Style::new().fg_color(Some(AnsiColor::Green.into())),
            Tone::Bad => Style::new().fg_color(Some(AnsiColor::Red.into())).bold(),
            Tone::Odd => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
        }
    }
}

/// What the two streams are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Terminals {
    /// Standard output is a terminal.
    pub(crate) out: bool,
    /// Standard error is a terminal.
    pub(crate) err: bool,
    /// Standard error takes a live line.
    pub(crate) live: bool,
    /// Standard error takes colours.
    pub(crate) colour: bool,
}

/// What became of standard output, for those who do not write to it themselves.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    /// Nobody reads it any more: no failure of the task's.
    pub(crate) closed: CancellationToken,
    /// It cannot be written, and why.
    pub(crate) lost: OnceLock<String>,
}

/// Standard output and standard error, as one picture.
pub(crate) struct Screen<O, E> {
    out: O,
    err: E,
    terminals: Terminals,
    /// The live line, where standard error is a terminal.
    status: Option<String>,
    /// Whether the live line stands on the terminal now.
    drawn: bool,
    /// Whether the terminal's cursor stands behind an unfinished line of the program's.
    within_line: bool,
    fate: Arc<Fate>,
    /// Standard output takes nothing any more.
    ended: bool,
}

impl<O: Write, E: Write> Screen<O, E> {
    pub(crate) fn new(out: O, err: E, terminals: Terminals, fate: Arc<Fate>) -> Self {
        Self { out, err, terminals, status: None, drawn: false, within_line: false, fate, ended: false }
    }

    /// Bytes for standard output, as they are.
    pub(crate) fn data(&mut self, bytes: &[u8]) {
        if self.ended {
            return;
        }
        if self.terminals.out {
            self.wipe();
        }
        let written = self.out.write_all(bytes);
        self.note(written);
        if let Some(last) = bytes.last().filter(|_| self.terminals.out) {
            self.within_line = *last != b'\n';
        }
    }

    /// A line of kpo's on standard error.
    pub(crate) fn say(&mut self, tone: Tone, text: &str) {
        self.begin_line();
        let text = visible_lines(text);
        let style = if self.terminals.colour { tone.style() } else { Style::new() };
        let _ = writeln!(self.err, "{style}{text}{style:#}");
    }

    /// A container's line on standard error, its name in front unless it is empty. Without a name it is the task's own container's: the bytes
    /// as they are. Another's (perhaps one that a webhook added) must not steer a terminal; a file gets its bytes as they are.
    pub(crate) fn other(&mut self, container: &str, bytes: &[u8], continues: bool) {
        self.begin_line();
        if !continues && !container.is_empty() {
            let _ = write!(self.err, "[{}] ", visible(container));
        }
        let _ = match self.terminals.err && !container.is_empty() {
            true => self.err.write_all(visible(&String::from_utf8_lossy(bytes)).as_bytes()),
            false => self.err.write_all(bytes),
        };
        let _ = self.err.write_all(b"\n");
    }

    /// Sets the live line, or takes it away.
    pub(crate) fn status(&mut self, text: Option<String>) {
        if self.terminals.live && self.status != text {
            self.wipe();
            self.status = text;
        }
    }

    /// Brings out what was written, and the live line below it.
    pub(crate) fn flush(&mut self) {
        self.flush_out();
        if let Some(status) = self.status.as_deref().filter(|_| !self.drawn && !self.within_line) {
            // Without automatic margins the terminal cuts the line itself, whatever its width (DECAWM).
            let style = if self.terminals.colour { Style::new().dimmed() } else { Style::new() };
            let _ = write!(self.err, "\x1b[?7l{style}{}{style:#}\x1b[?7h", visible(status));
            self.drawn = true;
        }
        let _ = self.err.flush();
    }

    fn begin_line(&mut self) {
        self.wipe();
        if self.within_line && self.terminals.err {
            let _ = self.err.write_all(b"\n");
            self.within_line = false;
        }
        if self.terminals.out {
            self.flush_out();
        }
    }

    fn flush_out(&mut self) {
        if !self.ended {
            let flushed = self.out.flush();
            self.note(flushed);
        }
    }

    /// A reader that has gone has had enough. Any other failure loses what was to be read: it is said, once.
    fn note(&mut self, written: io::Result<()>) {
        let Err(error) = written else { return };
        self.ended = true;
        if error.kind() == io::ErrorKind::BrokenPipe {
            return self.fate.closed.cancel();
        }
        let _ = self.fate.lost.set(error.to_string());
        self.say(Tone::Bad, &format!("standard output cannot be written ({error}): what follows of it is lost"));
    }

    fn wipe(&mut self) {
        if self.drawn {
            let _ = self.err.write_all(b"\r\x1b[2K");
            let _ = self.err.flush();
            self.drawn = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// Both streams into one, as a terminal shows them.
    #[derive(Clone, Default)]
    struct Tape(Rc<RefCell<Vec<u8>>>);

    impl Write for Tape {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shown(terminals: Terminals, act: impl FnOnce(&mut Screen<Tape, Tape>)) -> String {
        let tape = Tape::default();
        let mut screen = Screen::new(tape.clone(), tape.clone(), terminals, Arc::default());
        act(&mut screen);
        screen.flush();
        let bytes = tape.0.borrow().clone();
        String::from_utf8(bytes).unwrap()
    }

    const TERMINAL: Terminals = Terminals { out: true, err: true, live: true, colour: false };

    #[test]
    fn without_a_terminal_there_are_only_lines() {
        let text = shown(Terminals::default(), |screen| {
            screen.status(Some("running".into()));
            screen.data(b"hel");
            screen.data(b"lo\n");
            screen.say(Tone::Bad, "failed: \u{1b}[31mred");
            screen.other("pro\u{7}xy", b"up\r", false);
            screen.other("proxy", b"going on", true);
        });
        assert_eq!(text, "hello\nfailed: \\u{1b}[31mred\n[pro\\u{7}xy] up\r\ngoing on\n");
    }

    #[test]
    fn the_live_line_gives_way_and_comes_back() {
        let text = shown(TERMINAL, |screen| {
            screen.status(Some("running".into()));
            screen.flush();
            screen.data(b"hello\n");
            screen.flush();
            screen.status(None);
        });
        let live = "\x1b[?7lrunning\x1b[?7h";
        assert_eq!(text, format!("{live}\r\x1b[2Khello\n{live}\r\x1b[2K"));
    }

    #[test]
    fn an_unfinished_line_of_the_program_is_not_written_over() {
        let text = shown(TERMINAL, |screen| {
            screen.status(Some("running".into()));
            screen.data(b"Password: ");
            screen.flush();
            screen.say(Tone::Plain, "ended");
        });
        assert_eq!(text, "Password: \nended\n\x1b[?7lrunning\x1b[?7h");
    }

    #[test]
    fn another_containers_line_does_not_steer_a_terminal() {
        let line = b"\x1b[2J\xffup\x07";
        let text = shown(TERMINAL, |screen| {
            screen.other("side", line, false);
            screen.other("", b"\x1b[1mmine", false);
        });
        assert_eq!(text, "[side] \\u{1b}[2J\u{fffd}up\\u{7}\n\x1b[1mmine\n");
    }

    #[test]
    fn colours_only_where_they_are_taken() {
        let text = shown(Terminals { colour: true, ..TERMINAL }, |screen| screen.say(Tone::Good, "succeeded"));
        assert_eq!(text, "\u{1b}[32msucceeded\u{1b}[0m\n");
    }

    #[test]
    fn a_closed_standard_output_is_no_failure() {
        let (tape, fate) = (Tape::default(), Arc::<Fate>::default());
        let closed = Failing(io::ErrorKind::BrokenPipe);
        let mut screen = Screen::new(closed, tape.clone(), Terminals::default(), fate.clone());
        screen.data(b"hello\n");
        screen.data(b"hello\n");
        screen.say(Tone::Plain, "succeeded");
        assert_eq!(tape.0.borrow().as_slice(), b"succeeded\n");
        assert!(fate.closed.is_cancelled() && fate.lost.get().is_none());
    }

    #[test]
    fn output_that_is_lost_is_said_once() {
        let (tape, fate) = (Tape::default(), Arc::<Fate>::default());
        let full = io::BufWriter::new(Failing(io::ErrorKind::StorageFull));
        let mut screen = Screen::new(full, tape.clone(), Terminals::default(), fate.clone());
        screen.data(b"hello\n");
        screen.flush();
        screen.data(b"hello\n");
        screen.flush();
        let said = String::from_utf8(tape.0.borrow().clone()).unwrap();
        assert_eq!(said, "standard output cannot be written (no storage space): what follows of it is lost\n");
        assert_eq!(fate.lost.get().map(String::as_str), Some("no storage space"));
        assert!(!fate.closed.is_cancelled());
    }

    #[test]
    fn a_terminal_without_a_live_line_gets_no_escape_sequence() {
        let dumb = Terminals { live: false, ..TERMINAL };
        let text = shown(dumb, |screen| {
            screen.status(Some("running".into()));
            screen.flush();
            screen.other("side", b"\x1b[2J", false);
            screen.say(Tone::Plain, "ended");
        });
        assert_eq!(text, "[side] \\u{1b}[2J\nended\n");
    }
}
