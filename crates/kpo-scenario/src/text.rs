//! Statements and words of a scenario, with their places.

use std::fmt;
use std::time::Duration;

/// What is wrong with a scenario, where, and what to do. Printed as `FILE:LINE:COLUMN: MESSAGE`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ScenarioError {
    /// What the text is called.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

/// A mistake at a place; the file's name is added outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) message: String,
}

/// A word: up to the next white space outside of double quotes, which are taken off, as is a comma or colon at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    line: usize,
    column: usize,
}

impl Word {
    pub(crate) fn mistake(&self, message: impl Into<String>) -> Mistake {
        Mistake { line: self.line, column: self.column, message: message.into() }
    }

    /// It is none of the words that may stand here.
    pub(crate) fn unknown(&self, known: &[&str]) -> Mistake {
        self.mistake(format!("{:?} means nothing here; write one of: {}", self.text, known.join(", ")))
    }

    /// `key=value`.
    pub(crate) fn pair(&self) -> Option<(&str, &str)> {
        self.text.split_once('=').filter(|(key, _)| !key.is_empty())
    }

    /// `300ms`, `3s`, `2m`, `1h`, `1h30m`.
    pub(crate) fn duration(&self) -> Result<Duration, Mistake> {
        duration(&self.text)
            .ok_or_else(|| self.mistake(format!("{:?} is no duration; write one as 300ms, 3s, 2m or 1h30m", self.text)))
    }

    pub(crate) fn number<T: std::str::FromStr>(&self) -> Result<T, Mistake> {
        self.text.parse().map_err(|_| self.mistake(format!("{:?} is no whole number that fits here", self.text)))
    }
}

/// `300ms`, `3s`, `1h30m`, `2.4s`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').filter(|end| *end > 0)?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        rest = next;
    }
    (!text.is_empty()).then_some(total)
}

/// A statement: a line, and the indented ones after it.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    /// Its text as written, comments included; its first line's number.
    pub(crate) text: String,
    pub(crate) line: usize,
    words: Vec<Word>,
    at: usize,
}

impl Statement {
    pub(crate) fn peek(&self) -> Option<&str> {
        self.words.get(self.at).map(|word| word.text.as_str())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The next word; `what` says what is missing where there is none.
    pub(crate) fn next(&mut self, what: &str) -> Result<Word, Mistake> {
        let word = self.words.get(self.at).cloned();
        self.at += 1;
        word.ok_or_else(|| match self.words.last() {
            Some(last) => Mistake {
                line: last.line,
                column: last.column + last.text.chars().count(),
                message: format!("missing: {what}"),
            },
            None => Mistake { line: self.line, column: 1, message: format!("missing: {what}") },
        })
    }

    /// Takes that word, if it is the next.
    pub(crate) fn take(&mut self, text: &str) -> bool {
        let is = self.peek() == Some(text);
        self.at += usize::from(is);
        is
    }

    /// Takes that word, or it is a mistake.
    pub(crate) fn expect(&mut self, text: &str) -> Result<(), Mistake> {
        let word = self.next(&format!("the word {text:?}"))?;
        if word.text == text { Ok(()) } else { Err(word.unknown(&[text])) }
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) -> Result<(), Mistake> {
        match self.words.get(self.at) {
            None => Ok(()),
            Some(word) => Err(word.mistake(format!("{:?} is too much here; the statement ends before it", word.text))),
        }
    }
}

/// Splits a text into statements.
pub(crate) fn statements(text: &str) -> Result<Vec<Statement>, Mistake> {
    let mut all: Vec<Statement> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let words = words(line, index + 1)?;
        let goes_on = line.starts_with([' ', '\t']) && !words.is_empty();
        match all.last_mut().filter(|last| goes_on && !last.words.is_empty()) {
            Some(last) => {
                last.words.extend(words);
                last.text = format!("{}\n{line}", last.text);
            }
            None => all.push(Statement { text: line.to_owned(), line: index + 1, words, at: 0 }),
        }
    }
    Ok(all)
}

fn words(line: &str, number: usize) -> Result<Vec<Word>, Mistake> {
    let mut words: Vec<Word> = Vec::new();
    let (mut quoted, mut open, mut was_quoted) = (false, None::<(usize, String)>, false);
    for (index, c) in line.chars().enumerate() {
        match c {
            '"' => {
                open.get_or_insert_with(|| (index + 1, String::new()));
                (quoted, was_quoted) = (!quoted, true);
            }
            '#' if !quoted && open.is_none() => break,
            c if c.is_whitespace() && !quoted => {
                words.extend(open.take().map(|word| finish(word, number, was_quoted)));
                was_quoted = false;
            }
            c => open.get_or_insert_with(|| (index + 1, String::new())).1.push(c),
        }
    }
    if quoted {
        let column = open.map_or(1, |(column, _)| column);
        return Err(Mistake {
            line: number,
            column,
            message: "the quotation marks are not closed on this line".to_owned(),
        });
    }
    words.extend(open.take().map(|word| finish(word, number, was_quoted)));
    Ok(words)
}

fn finish((column, text): (usize, String), line: usize, quoted: bool) -> Word {
    let text = if quoted { text } else { text.trim_end_matches([',', ':']).to_owned() };
    Word { text, line, column }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_places_and_indented_lines_go_on() {
        let all = statements("# a\nverdict 1: failed, exit 3\n  reason x # why\n\nprints \"a, b\"").unwrap();
        let texts: Vec<Vec<&str>> = all.iter().map(|s| s.words.iter().map(|w| w.text.as_str()).collect()).collect();
        assert_eq!(
            texts,
            [vec![], vec!["verdict", "1", "failed", "exit", "3", "reason", "x"], vec![], vec!["prints", "a, b"]]
        );
        assert_eq!((all[1].words[5].line, all[1].words[5].column), (3, 3));
        let open = statements("prints \"a").unwrap_err();
        assert_eq!((open.line, open.column), (1, 8));
    }

    #[test]
    fn durations() {
        for (text, millis) in [("300ms", 300), ("2.4s", 2_400), ("1h30m", 5_400_000), ("0s", 0)] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "3", "s", "3d", "3s4", "-1s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
