//! Errors for people: what was tried, and why it failed, in one line.

use std::error::Error;

/// An error and its causes, joined once. Causes are never repeated in the messages of this project's errors.
///
/// ```
/// let error = std::io::Error::other("the disk is full");
/// assert_eq!(kpo::chain(&error), "the disk is full");
/// ```
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
