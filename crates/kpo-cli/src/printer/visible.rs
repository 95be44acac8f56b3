//! Text from a cluster is not trusted: what would steer a terminal is made visible.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The text with control characters (escape sequences among them) and characters that turn the direction of writing made visible, and
/// line feeds as spaces: one line.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(' '),
            '\r' => {}
            c if steers(c) => {
                let _ = write!(out, "{}", c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The same for text of several lines: line feeds stay.
pub(crate) fn visible_lines(text: &str) -> String {
    text.split('\n').map(visible).collect::<Vec<_>>().join("\n")
}

/// JSON with such characters as its own escapes, which are what it says all the same. Line feeds between its parts stay.
pub(crate) fn escaped(json: String) -> String {
    if !is_steering(&json) {
        return json;
    }
    let mut out = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        match c {
            // Outside of strings nothing but this is one: within them it is escaped already.
            '\n' => out.push(c),
            c if steers(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Whether text of several lines has a character that would steer a terminal.
pub(crate) fn is_steering(text: &str) -> bool {
    text.chars().any(|c| c != '\n' && steers(c))
}

/// C0 and C1 controls, the bidirectional controls (Unicode TR36, "Bidirectional Text Spoofing"), and what separates lines and paragraphs.
/// All are of the plane whose characters four digits name.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_become_text() {
        assert_eq!(visible("plain, größer, 🍊"), "plain, größer, 🍊");
        assert_eq!(visible("\u{1b}[2J\u{1b}]0;owned\u{7}x"), r"\u{1b}[2J\u{1b}]0;owned\u{7}x");
        assert_eq!(visible("a\r\nb\tc"), "a b c");
        assert_eq!(visible("\u{9b}31m\u{202e}x"), r"\u{9b}31m\u{202e}x");
        assert_eq!(visible("a\u{61c}b\u{2028}c\u{2029}d"), r"a\u{61c}b\u{2028}c\u{2029}d");
        assert_eq!(visible_lines("a\n\u{1b}b"), "a\n\\u{1b}b");
    }

    #[test]
    fn json_says_the_same_with_escapes_of_its_own() {
        let said = serde_json::json!({"a\u{202e}": "größer, 🍊\n\u{9b}2J\u{2028}\u{7f}\u{61c}"});
        let text = escaped(serde_json::to_string_pretty(&said).unwrap());
        assert_eq!(text, "{\n  \"a\\u202e\": \"größer, 🍊\\n\\u009b2J\\u2028\\u007f\\u061c\"\n}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), said);
    }
}
