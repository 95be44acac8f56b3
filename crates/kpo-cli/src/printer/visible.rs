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

/// C0 and C1 controls, and the bidirectional controls (Unicode TR36, "Bidirectional Text Spoofing").
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
        assert_eq!(visible_lines("a\n\u{1b}b"), "a\n\\u{1b}b");
    }
}
