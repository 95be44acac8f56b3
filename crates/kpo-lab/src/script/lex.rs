//! Lines and words of a script, with their places.

use std::time::Duration;

use super::ScriptError;

/// A word: up to the next white space that is not within double quotes, which are taken off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub text: String,
    line: usize,
    column: usize,
}

impl Word {
    /// An error at this word.
    pub(super) fn error(&self, message: impl Into<String>) -> ScriptError {
        ScriptError { line: self.line, column: self.column, message: message.into() }
    }

    /// `key=value`, if it is that.
    pub(super) fn pair(&self) -> Option<(&str, &str)> {
        self.text.split_once('=').filter(|(key, _)| !key.is_empty())
    }

    /// `300ms`, `3s`, `2m`, `1h`.
    pub(super) fn duration(&self) -> Result<Duration, ScriptError> {
        let wrong = || self.error(format!("{:?} is no duration; write one as 300ms, 3s, 2m or 1h", self.text));
        let end = self.text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, unit) = self.text.split_at(end);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
    }

    /// A whole number.
    pub(super) fn number<T: std::str::FromStr>(&self) -> Result<T, ScriptError> {
        self.text.parse().map_err(|_| self.error(format!("{:?} is no whole number that fits here", self.text)))
    }
}

/// A statement's words, taken from the front.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub number: usize,
    words: Vec<Word>,
    at: usize,
    /// Where the line ends: for what is missing.
    end: Word,
}

impl Line {
    pub(super) fn words(&self) -> impl Iterator<Item = &Word> {
        self.words.iter()
    }

    pub(super) fn peek(&self) -> Option<&Word> {
        self.words.get(self.at)
    }

    /// The next word; the error says what is missing.
    pub(super) fn next(&mut self, what: &str) -> Result<Word, ScriptError> {
        let word = self.peek().cloned().ok_or_else(|| self.end.error(format!("{what} is missing")))?;
        self.at += 1;
        Ok(word)
    }

    /// Takes the next word if it is this one.
    pub(super) fn take(&mut self, text: &str) -> bool {
        let is = self.peek().is_some_and(|word| word.text == text);
        self.at += usize::from(is);
        is
    }

    /// The next word has to be this one.
    pub(super) fn expect(&mut self, text: &str) -> Result<(), ScriptError> {
        let word = self.next(&format!("\"{text}\""))?;
        if word.text == text {
            Ok(())
        } else {
            Err(word.error(format!("{:?} is not understood here; write {text:?}", word.text)))
        }
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Result<(), ScriptError> {
        match self.peek() {
            Some(word) => {
                Err(word.error(format!("{:?} is not understood here; the statement could end before it", word.text)))
            }
            None => Ok(()),
        }
    }

    /// An error for a word that is none of these.
    pub(super) fn unknown(word: &Word, known: &[&str]) -> ScriptError {
        let near = known.iter().find(|candidate| near(candidate, word.text.trim_end_matches(':')));
        let hint = match near {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("write one of: {}", known.join(", ")),
        };
        word.error(format!("{:?} is not understood here; {hint}", word.text))
    }
}

/// Whether two words differ by one edit or so.
fn near(a: &str, b: &str) -> bool {
    let common = a.chars().zip(b.chars()).take_while(|(x, y)| x == y).count();
    let tail = a.chars().rev().zip(b.chars().rev()).take_while(|(x, y)| x == y).count();
    let longest = a.chars().count().max(b.chars().count());
    common > 0 && common + tail + 2 >= longest
}

/// The statements of a text: comments gone, continued lines joined.
pub(super) fn lines(text: &str, first: usize) -> Result<Vec<Line>, ScriptError> {
    let mut lines: Vec<Line> = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let number = first + index;
        let words = words(raw, number)?;
        let end = Word { text: String::new(), line: number, column: raw.trim_end().chars().count() + 1 };
        let Some(first) = words.first().cloned() else { continue };
        let continues = raw.starts_with([' ', '\t']);
        match lines.last_mut().filter(|_| continues) {
            Some(line) => {
                line.words.extend(words);
                line.end = end;
            }
            None if continues => {
                return Err(
                    first.error("there is no statement that this line could go on with; begin it in the first column")
                );
            }
            None => lines.push(Line { number, words, at: 0, end }),
        }
    }
    Ok(lines)
}

fn words(raw: &str, line: usize) -> Result<Vec<Word>, ScriptError> {
    let mut words = Vec::new();
    let mut rest = raw.chars().enumerate().peekable();
    while let Some((column, c)) = rest.next() {
        if c.is_whitespace() {
            continue;
        }
        if c == '#' {
            break;
        }
        let start = Word { text: String::new(), line, column: column + 1 };
        words.push(word(start, c, &mut rest)?);
    }
    Ok(words)
}

fn word(
    mut word: Word,
    first: char,
    rest: &mut std::iter::Peekable<impl Iterator<Item = (usize, char)>>,
) -> Result<Word, ScriptError> {
    let mut quoted = false;
    let mut next = Some(first);
    while let Some(c) = next {
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => match rest.next() {
                Some((_, 'n')) => word.text.push('\n'),
                Some((_, 't')) => word.text.push('\t'),
                Some((_, c)) => word.text.push(c),
                None => {}
            },
            c => word.text.push(c),
        }
        let more = rest.peek().is_some_and(|(_, c)| quoted || !c.is_whitespace());
        next = if more { rest.next().map(|(_, c)| c) } else { None };
    }
    if quoted {
        Err(word.error("the quotation mark that begins here is never closed; add a \" at its end"))
    } else {
        Ok(word)
    }
}
