//! Two streams and a live line, written in the order of what is said.

use super::visible::{visible, visible_lines};
use anstyle::{AnsiColor, Style};
use std::io::{self, Write};

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
    /// Standard error takes colours.
    pub(crate) colour: bool,
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
    /// Nobody reads standard output any more: no failure of the task's.
    closed: bool,
}

impl<O: Write, E: Write> Screen<O, E> {
    pub(crate) fn new(out: O, err: E, terminals: Terminals) -> Self {
        Self { out, err, terminals, status: None, drawn: false, within_line: false, closed: false }
    }

    /// Bytes for standard output, as they are.
    pub(crate) fn data(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        if self.terminals.out {
            self.wipe();
        }
        self.closed = self.out.write_all(bytes).is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
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
        if self.terminals.err && self.status != text {
            self.wipe();
            self.status = text;
        }
    }

    /// Brings out what was written, and the live line below it.
    pub(crate) fn flush(&mut self) {
        if !self.closed {
            self.closed = self.out.flush().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        }
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
        if self.terminals.out && !self.closed {
            let _ = self.out.flush();
        }
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

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn shown(terminals: Terminals, act: impl FnOnce(&mut Screen<Tape, Tape>)) -> String {
        let tape = Tape::default();
        let mut screen = Screen::new(tape.clone(), tape.clone(), terminals);
        act(&mut screen);
        screen.flush();
        let bytes = tape.0.borrow().clone();
        String::from_utf8(bytes).unwrap()
    }

    const TERMINAL: Terminals = Terminals { out: true, err: true, colour: false };

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
        let tape = Tape::default();
        let mut screen = Screen::new(Closed, tape.clone(), Terminals::default());
        screen.data(b"hello\n");
        screen.data(b"hello\n");
        screen.say(Tone::Plain, "succeeded");
        assert_eq!(tape.0.borrow().as_slice(), b"succeeded\n");
    }
}
