//! What the containers write, and how it is read again.

use std::fmt::Write;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::IgnoredAny;
use serde_json::{Value, error::Category};
use sha2::{Digest, Sha256};

use super::{CONTAINER, ResultError};

/// What a report says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The result itself.
    Complete(Vec<u8>),
    /// It is in the container's log.
    InLog {
        /// Its length in bytes.
        length: usize,
        /// Its SHA-256, in hexadecimal.
        sha256: String,
    },
    /// It was cut on its way.
    Cut {
        /// Its length in bytes.
        length: usize,
        /// Its SHA-256, in hexadecimal.
        sha256: String,
        /// What arrived, in bytes.
        got: usize,
    },
}

impl Report {
    /// The result, where there is no log to look into.
    ///
    /// # Errors
    /// [`ResultError::Cut`] if it is not complete.
    pub fn into_bytes(self) -> Result<Vec<u8>, ResultError> {
        match self {
            Report::Complete(bytes) => Ok(bytes),
            Report::InLog { length, .. } => Err(ResultError::Cut { expected: length, got: 0 }),
            Report::Cut { length, got, .. } => Err(ResultError::Cut { expected: length, got }),
        }
    }
}

/// The word that each line of a report begins with.
const MAGIC: &str = "kpo-result/1";

/// Reads a sidecar's termination message, or what [`Plan::read_command`](super::Plan::read_command) printed.
///
/// # Errors
/// What the report says is wrong; [`ResultError::Checksum`] if it is damaged.
///
/// ```
/// use kpo::result::{Report, ResultError, decode_frame};
/// let sum = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
/// let report = format!("kpo-result/1 inline 2 {sum}\n{{}}");
/// assert_eq!(decode_frame(report.as_bytes(), "/r/out.json", 4096).unwrap(), Report::Complete(b"{}".to_vec()));
/// let missing = decode_frame(b"kpo-result/1 missing\n", "/r/out.json", 4096).unwrap_err();
/// assert_eq!(missing.to_string(), r#"the program left no result: before it ends it must write one JSON value to the file "/r/out.json""#);
/// ```
pub fn decode_frame(report: &[u8], path: &str, limit: usize) -> Result<Report, ResultError> {
    let (head, content) = match report.iter().position(|b| *b == b'\n') {
        Some(end) => (&report[..end], &report[end + 1..]),
        None => (report, &[][..]),
    };
    let words: Vec<&str> = std::str::from_utf8(head).unwrap_or_default().split(' ').collect();
    match words[..] {
        [MAGIC, "missing"] => Err(ResultError::Missing { path: path.to_owned() }),
        [MAGIC, "unreadable"] => Err(ResultError::Unreadable { path: path.to_owned() }),
        [MAGIC, "too-large", size] => Err(ResultError::TooLarge { size: size.parse().ok(), limit }),
        [MAGIC, "log", length, sum] => Ok(Report::InLog { length: number(length)?, sha256: sum.to_owned() }),
        [MAGIC, "inline", length, sum] => match checked(content, number(length)?, sum) {
            // The API server puts U+FFFD where a byte is no text.
            Err(ResultError::Checksum) if let Some(at) = replaced(content) => Err(ResultError::NotText { at }),
            Err(ResultError::Cut { expected, got }) => {
                Ok(Report::Cut { length: expected, sha256: sum.to_owned(), got })
            }
            result => result.map(|()| Report::Complete(content.to_vec())),
        },
        [MAGIC, "waiting"] => Err(ResultError::NoReport {
            container: CONTAINER.to_owned(),
            state: "it was stopped before it could look for the result".to_owned(),
        }),
        _ => Err(garbled()),
    }
}

/// Finds the result in the sidecar's log.
///
/// # Errors
/// [`ResultError::Cut`], [`ResultError::Checksum`]; [`ResultError::Garbled`] if there is no result in it.
pub fn decode_log(log: &[u8], length: usize, sha256: &str) -> Result<Vec<u8>, ResultError> {
    let begin = format!("{MAGIC} begin {length} {sha256}\n");
    let start = memchr::memmem::rfind(log, begin.as_bytes()).ok_or_else(garbled)? + begin.len();
    let rest = &log[start..];
    let end = memchr::memmem::find(rest, MAGIC.as_bytes()).unwrap_or(rest.len());
    let mut code: Vec<u8> = rest[..end].iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    if end == rest.len() {
        // It broke off: whole groups of what there is tell how much is missing.
        code.truncate(code.len() / 4 * 4);
    }
    let content = STANDARD.decode(&code).map_err(|_| ResultError::Checksum)?;
    checked(&content, length, sha256).map(|()| content)
}

/// Reads the termination message of the program's own container, which the program wrote as it is.
///
/// The kubelet reads the last 4096 bytes of the file and then cuts the message to the container's share. Neither leaves a whole object or
/// array of one that was longer; of any other value that reaches the limit nobody can tell.
///
/// # Errors
/// [`ResultError::TooLarge`] if the limit is reached by what is no whole object or array; [`ResultError::Missing`] if it is empty;
/// [`ResultError::Replaced`] if a part of it may have been no text.
pub fn decode_message(message: &str, path: &str, limit: usize) -> Result<String, ResultError> {
    // The cut may have split a character, for which up to three bytes of U+FFFD stand then.
    let reaches = message.len() + 3 >= limit;
    if reaches && !matches!(serde_json::from_str(message), Ok(Value::Object(_) | Value::Array(_))) {
        return Err(ResultError::TooLarge { size: None, limit });
    }
    if message.trim_ascii().is_empty() {
        return Err(ResultError::Missing { path: path.to_owned() });
    }
    match replaced(message.as_bytes()) {
        Some(at) => Err(ResultError::Replaced { at }),
        None => Ok(message.to_owned()),
    }
}

/// Where the first byte that was no text stood, from 1, if a U+FFFD tells of one.
fn replaced(content: &[u8]) -> Option<usize> {
    memchr::memmem::find(content, "\u{fffd}".as_bytes()).map(|at| at + 1)
}

/// The result as JSON.
///
/// # Errors
/// [`ResultError::NotText`], [`ResultError::NotJson`] or [`ResultError::NumberTooLarge`], with the place.
///
/// ```
/// let error = kpo::result::parse_json(b"{\n  \"a\": oops\n}").unwrap_err();
/// assert_eq!(error.to_string(), "the result is not JSON: line 2, column 8: not the JSON that is expected here");
/// ```
pub fn parse_json(bytes: &[u8]) -> Result<Value, ResultError> {
    let text = std::str::from_utf8(bytes).map_err(|error| ResultError::NotText { at: error.valid_up_to() + 1 })?;
    serde_json::from_str(text).map_err(|error| match (error.line(), error.column()) {
        // Of a number of any length it is only known that it is one if nothing has to hold it.
        (line, column) if serde_json::from_slice::<IgnoredAny>(bytes).is_ok() => {
            ResultError::NumberTooLarge { length: bytes.len(), line, column }
        }
        (line, column) => not_json(bytes, line, column, error.classify()),
    })
}

fn not_json(bytes: &[u8], line: usize, column: usize, category: Category) -> ResultError {
    ResultError::NotJson {
        line,
        column,
        reason: match category {
            Category::Eof if bytes.trim_ascii().is_empty() => "it is empty",
            Category::Eof => "it ends too early",
            _ => "not the JSON that is expected here",
        },
    }
}

fn number(text: &str) -> Result<usize, ResultError> {
    text.parse().map_err(|_| garbled())
}

fn checked(content: &[u8], length: usize, sha256: &str) -> Result<(), ResultError> {
    if content.len() < length {
        return Err(ResultError::Cut { expected: length, got: content.len() });
    }
    if content.len() > length || hex(&Sha256::digest(content)) != sha256 {
        return Err(ResultError::Checksum);
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
        text
    })
}

fn garbled() -> ResultError {
    ResultError::Garbled { container: CONTAINER.to_owned() }
}
