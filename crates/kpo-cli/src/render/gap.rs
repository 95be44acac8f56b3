//! A gap in a log, where it is.

use super::words::{clock, span};
use kpo_core::Time;

/// The gap in words: its length where it is known, the times on both sides, its cause.
pub(crate) fn gap(after: Option<Time>, before: Option<Time>, cause: &str) -> String {
    match (after, before) {
        (Some(after), Some(before)) => {
            let length = span(before.since(after));
            format!("gap: up to {length} of log ({}–{}) may be missing: {cause}", clock(after), clock(before))
        }
        (Some(after), None) => format!("gap: the log after {} is missing, if there was any: {cause}", clock(after)),
        (None, Some(before)) => format!("gap: the log before {} is missing: {cause}", clock(before)),
        (None, None) => format!("gap: no line of the log could be read: {cause}"),
    }
}
