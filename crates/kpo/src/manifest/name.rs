//! Names that Kubernetes takes.

use super::error::Problem;

/// The longest id of a task: a DNS label is at most 63 characters (RFC 1123), and attempts append up to `-999`,
/// so that the pod's name fits into its own host name too.
pub const LONGEST_TASK: usize = 63 - 4;
/// The longest DNS label (RFC 1123): a container's name, a namespace's.
const LONGEST_LABEL: usize = 63;

/// Checks a task's id: a DNS label with room for what the attempts append.
///
/// # Errors
/// [`Problem::Name`], saying why and what would do.
pub fn task(name: &str) -> Result<(), Problem> {
    if name.len() > LONGEST_TASK && label_fault(name).is_none() {
        let why = format!("it has {} characters, and attempts append \"-1\", \"-2\", …", name.len());
        return Err(fault("task", name, why, format!("Use at most {LONGEST_TASK}.")));
    }
    label("task", name, LONGEST_TASK)
}

/// Checks a container's name.
///
/// # Errors
/// [`Problem::Name`].
pub fn container(name: &str) -> Result<(), Problem> {
    label("container", name, LONGEST_LABEL)
}

/// Checks a namespace's name.
///
/// # Errors
/// [`Problem::Name`].
pub fn namespace(name: &str) -> Result<(), Problem> {
    label("namespace", name, LONGEST_LABEL)
}

fn label(what: &'static str, name: &str, longest: usize) -> Result<(), Problem> {
    if let Some(why) = label_fault(name) {
        return Err(fault(what, name, why, suggestion(name, longest)));
    }
    if name.len() > longest {
        let why = format!("it has {} characters", name.len());
        return Err(fault(what, name, why, format!("Use at most {longest}.")));
    }
    Ok(())
}

fn fault(what: &'static str, name: &str, why: String, hint: String) -> Problem {
    Problem::Name { what, name: name.to_owned(), why, hint }
}

fn is_plain(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

fn label_fault(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("it is empty".to_owned());
    }
    if let Some(bad) = name.chars().find(|c| !is_plain(*c) && *c != '-') {
        return Some(format!("'{}' is not a lower-case letter, digit or '-'", bad.escape_default()));
    }
    let at_the_edges = name.starts_with('-') || name.ends_with('-');
    at_the_edges.then(|| "it begins or ends with '-'".to_owned())
}

fn suggestion(name: &str, longest: usize) -> String {
    let name = label_of(name, longest);
    if name.is_empty() { "Use lower-case letters, digits and '-'.".to_owned() } else { format!("\"{name}\" would do.") }
}

/// The nearest DNS label of at most `longest` characters: what is not allowed becomes `-`. Empty if nothing is left.
pub fn label_of(text: &str, longest: usize) -> String {
    let lower = text.to_lowercase();
    let mapped: String = lower.chars().map(|c| if is_plain(c) { c } else { '-' }).take(longest).collect();
    mapped.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubernetes_takes_is_taken() {
        for good in ["a", "fresh-squeeze", "0x", &"a".repeat(59)] {
            assert_eq!(task(good), Ok(()));
        }
        assert_eq!(container(&"a".repeat(63)), Ok(()));
    }

    #[test]
    fn what_it_does_not_take_is_said_with_a_name_that_would_do() {
        let said = |name: &str| task(name).unwrap_err().to_string();
        assert_eq!(
            said("Fresh_Squeeze"),
            "\"Fresh_Squeeze\" is no name for a task: 'F' is not a lower-case letter, digit or '-'. \"fresh-squeeze\" would do."
        );
        assert!(
            said(&"a".repeat(60))
                .ends_with("it has 60 characters, and attempts append \"-1\", \"-2\", …. Use at most 59.")
        );
        assert!(said("").ends_with("it is empty. Use lower-case letters, digits and '-'."));
        assert!(said("-a").contains("begins or ends with '-'. \"a\" would do."));
        assert!(said("a\u{1b}[31m").contains("'\\u{1b}'"));
    }
}
