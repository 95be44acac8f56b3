//! What can be wrong with a manifest: what it is, where it stands, and what to do.

use super::document::{Position, Source};
use super::path::PathError;
use std::fmt;

/// A manifest cannot be taken as a task.
///
/// Displayed as `file:line:col: what. What to do.`, and below it the line with the place underlined. Env values are never shown.
#[derive(Debug, thiserror::Error)]
#[error("{place}{problem}{}", place.snippet())]
pub struct ManifestError {
    /// Where.
    pub place: Box<Place>,
    /// What.
    pub problem: Problem,
}

impl ManifestError {
    pub(super) fn new(place: Place, problem: Problem) -> Self {
        Self { place: Box::new(place), problem }
    }
}

/// Where a [`Problem`] is.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// The file's name, or the flag as it was given (without its value). `None`: the request as a whole.
    pub name: Option<String>,
    /// Line, column and width in it. `None`: all of it.
    pub position: Option<Position>,
    line: Option<String>,
}

/// What is wrong with a manifest, and what to do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// There is no document.
    #[error("it is empty. Give a Pod, a PodTemplate, a Job or a CronJob.")]
    Empty,
    /// There is more than one document.
    #[error("it holds {count} documents. kpo runs one task: give one document.")]
    Documents {
        /// How many.
        count: usize,
    },
    /// It is neither YAML nor JSON.
    #[error("not valid YAML: {0}.")]
    Syntax(String),
    /// Its kind is none that ends.
    #[error("{kind} is not a task. Give a Pod, a PodTemplate, a Job or a CronJob.")]
    Kind {
        /// As written.
        kind: String,
    },
    /// It has no kind.
    #[error("it has no kind. Add \"apiVersion: v1\" and \"kind: Pod\".")]
    NoKind,
    /// The kind is right, its API version is not.
    #[error("{kind} has the API version \"{found}\". Use {expected}.")]
    ApiVersion {
        /// The kind.
        kind: String,
        /// As written.
        found: String,
        /// The one that is known.
        expected: &'static str,
    },
    /// A value has the wrong shape.
    #[error("{path} must be {expected}, not {found}.{hint}")]
    Shape {
        /// Which.
        path: String,
        /// `a list`, `a map`, `a text`.
        expected: &'static str,
        /// What it is.
        found: &'static str,
        /// A further sentence with a blank before it, or nothing.
        hint: &'static str,
    },
    /// A restart policy other than `Never`.
    #[error("unknown value for restartPolicy: \"{value}\". A task ends; use Never, or leave it out.")]
    RestartPolicy {
        /// As written.
        value: String,
    },
    /// A container's own restart policy, by which its kubelet would start it again.
    #[error(
        "container \"{container}\" has restartPolicy: {value}, so that it would be started again. A task ends; use Never{sidecar}, or leave it out."
    )]
    ContainerRestarts {
        /// Its name.
        container: String,
        /// As written.
        value: String,
        /// What an init container may have beside.
        sidecar: &'static str,
    },
    /// Rules by which a container would be started again.
    #[error(
        "container \"{container}\" has restartPolicyRules, by which it would be started again. Use --retries instead, and leave them out."
    )]
    RestartRules {
        /// Its name.
        container: String,
    },
    /// A container wants somebody at its standard input or terminal.
    #[error("container \"{container}\" asks for {field}. No stdin, no TTY: a task runs unattended. Leave it out.")]
    Attended {
        /// Its name.
        container: String,
        /// `stdin` or `tty`.
        field: &'static str,
    },
    /// A Job asks for what a task is not.
    #[error("the Job asks for {field}: {value}. {instead}")]
    JobAsks {
        /// The field.
        field: &'static str,
        /// As written, or `…`.
        value: String,
        /// What to do.
        instead: &'static str,
    },
    /// There is no container.
    #[error("it has no containers. A task needs one, with a name and an image.")]
    NoContainers,
    /// A container has no image.
    #[error("container \"{container}\" has no image. Add one, or give --image.")]
    NoImage {
        /// Its name.
        container: String,
    },
    /// A container has no name.
    #[error("the container has no name. Add one, such as \"name: base\".")]
    NoContainerName,
    /// Two containers of one name.
    #[error("two containers are called \"{name}\". Give each its own name.")]
    SameName {
        /// The name.
        name: String,
    },
    /// A name that Kubernetes does not take.
    #[error("\"{name}\" is no name for a {what}: {why}. {hint}")]
    Name {
        /// `task`, `container`, `namespace`.
        what: &'static str,
        /// As written.
        name: String,
        /// Why not.
        why: String,
        /// What to do.
        hint: String,
    },
    /// The task's own container is not there.
    #[error("there is no container \"{name}\". It has: {known}.")]
    UnknownContainer {
        /// The one asked for.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The manifest's namespace is another than the flag's.
    #[error("it is for namespace \"{manifest}\", but --namespace is \"{flag}\". Make them agree, or leave one out.")]
    Namespace {
        /// The manifest's.
        manifest: String,
        /// The flag's.
        flag: String,
    },
    /// An assignment that is none.
    #[error("{what} is missing. Write {example}.")]
    Assignment {
        /// What is missing.
        what: &'static str,
        /// How it would look.
        example: &'static str,
    },
    /// A path that cannot be followed.
    #[error("{error}.")]
    Path {
        /// As written.
        path: String,
        /// Why not.
        error: PathError,
    },
    /// A value that is no YAML.
    #[error("the value is not valid YAML. Quote it if it is meant as text.")]
    Value,
    /// Neither a manifest nor an image.
    #[error("nothing to run. Give a manifest with -f FILE, or an image with --image.")]
    Nothing,
}

impl Place {
    /// A place in a text.
    pub(super) fn new(source: &Source, position: Option<Position>) -> Self {
        let line = position.and_then(|position| visible_line(&source.text, position.line));
        Self { name: Some(source.name.clone()), position, line }
    }

    /// A flag, named without its value.
    pub(super) fn flag(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// The line with the place underlined; empty where there is none to show.
    fn snippet(&self) -> String {
        /// Longer lines (JSON on one line) are shown around the place only.
        const WIDEST: usize = 120;
        let (Some(position), Some(line)) = (self.position, &self.line) else { return String::new() };
        let length = line.chars().count();
        let column = position.column.saturating_sub(1);
        if column >= length.max(1) {
            return String::new();
        }
        let skipped = if length > WIDEST { column.saturating_sub(WIDEST / 2) } else { 0 };
        let shown: String = line.chars().skip(skipped).take(WIDEST).collect();
        let width = position.width.clamp(1, (length - column).max(1));
        let number = position.line.to_string();
        let margin = " ".repeat(number.len());
        let caret = format!("{}{}", " ".repeat(column - skipped), "^".repeat(width));
        format!("\n   {number} │ {}\n   {margin} │ {caret}", shown.trim_end())
    }
}

/// The line of that number, with what stands behind a `value:` hidden: it may be a secret, and so may the lines of a block
/// scalar below one.
fn visible_line(text: &str, number: usize) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let line = lines.get(number.checked_sub(1)?)?;
    let indent = |line: &str| line.len() - line.trim_start().len();
    let parent =
        lines[..number - 1].iter().rev().find(|above| !above.trim().is_empty() && indent(above) < indent(line));
    if parent.is_some_and(|parent| after_value_key(parent).is_some()) {
        return None;
    }
    let line = match after_value_key(line) {
        Some(end) => format!("{} …", &line[..end]),
        None => (*line).to_owned(),
    };
    Some(line.replace('\t', " "))
}

/// The byte behind the colon of the first key `value` in a line, quoted or not.
fn after_value_key(line: &str) -> Option<usize> {
    line.match_indices("value").find_map(|(at, key)| {
        let before = line[..at].chars().next_back();
        let rest = &line[at + key.len()..];
        let trimmed = rest.trim_start_matches(['"', '\'', ' ']);
        let is_key = !before.is_some_and(|c| c.is_alphanumeric() || c == '_') && trimmed.starts_with(':');
        is_key.then(|| line.len() - trimmed.len() + 1)
    })
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, self.position) {
            (Some(name), Some(at)) => write!(f, "{name}:{}:{}: ", at.line, at.column),
            (Some(name), None) => write!(f, "{name}: "),
            (None, _) => Ok(()),
        }
    }
}
