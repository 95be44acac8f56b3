//! What can go wrong, as Python's classes: one table. `kpo.errors` has a class for each row; a test compares them.

use kpo::driver::{AttachFailure, InUse};
use kpo::hook::ConnectError;
use kpo::manager::ReadError;
use kpo::manifest::ManifestError;
use kpo::options::OptionsError;
use kpo::request::{ApiFailure, RequestError};
use kpo_core::AttachError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyType;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Input,
    Connection,
    Forbidden,
    NotFound,
    PodNotFound,
    TaskExists,
    Refused,
    Local,
    Forked,
    Closed,
    Left,
    Bug,
    Failed,
    LaunchFailed,
    Disrupted,
    Cancelled,
}

impl Kind {
    const ALL: [Kind; 16] = [
        Kind::Input,
        Kind::Connection,
        Kind::Forbidden,
        Kind::NotFound,
        Kind::PodNotFound,
        Kind::TaskExists,
        Kind::Refused,
        Kind::Local,
        Kind::Forked,
        Kind::Closed,
        Kind::Left,
        Kind::Bug,
        Kind::Failed,
        Kind::LaunchFailed,
        Kind::Disrupted,
        Kind::Cancelled,
    ];

    /// Its class in `kpo.errors`, the classes that one derives from, and what it means.
    const fn row(self) -> (&'static str, &'static [&'static str], &'static str) {
        match self {
            Kind::Input => (
                "InputError",
                &["KpoError", "ValueError"],
                "A manifest or an option cannot be taken; nothing was created",
            ),
            Kind::Connection => (
                "ConnectError",
                &["KpoError", "ConnectionError"],
                "The cluster cannot be reached, or does not let us in",
            ),
            Kind::Forbidden => (
                "ForbiddenError",
                &["KpoError", "PermissionError"],
                "A right is missing; the message has the rule to add",
            ),
            Kind::NotFound => ("NotFoundError", &["KpoError", "LookupError"], "There is no pod of that task"),
            Kind::PodNotFound => (
                "PodNotFoundError",
                &["NotFoundError"],
                "There is no pod of that name, nor was there at any later read",
            ),
            Kind::TaskExists => {
                ("TaskExistsError", &["KpoError"], "A task of that name is there already; nothing was created")
            }
            Kind::Refused => (
                "RefusedError",
                &["KpoError"],
                "The cluster refused a request, or what was found is no task to go on with",
            ),
            Kind::Local => ("LocalError", &["KpoError", "OSError"], "Something on this machine"),
            Kind::Forked => {
                ("ForkedError", &["KpoError", "RuntimeError"], "It was made before this process was forked off")
            }
            Kind::Closed => ("ClosedError", &["KpoError", "RuntimeError"], "It was closed before"),
            Kind::Left => ("LeftError", &["KpoError"], "The task was left before it had an outcome: its pod stays"),
            Kind::Bug => ("BugError", &["KpoError"], "kpo failed, which is a bug; the task's pod may be left"),
            Kind::Failed => ("TaskFailed", &["TaskError"], "The program failed, or its result is missing"),
            Kind::LaunchFailed => {
                ("TaskLaunchFailed", &["TaskError"], "It could not be launched: image, configuration, refused")
            }
            Kind::Disrupted => {
                ("TaskDisrupted", &["TaskError"], "It was taken away, and may not run again, or not any more")
            }
            Kind::Cancelled => ("TaskCancelled", &["TaskError"], "It was stopped: cancelled, or a clock ran out"),
        }
    }

    /// The verdict of an outcome that it stands for. `None`: it is none.
    const fn verdict(self) -> Option<&'static str> {
        match self {
            Kind::Failed => Some("failed"),
            Kind::LaunchFailed => Some("launchFailed"),
            Kind::Disrupted => Some("disrupted"),
            Kind::Cancelled => Some("cancelled"),
            _ => None,
        }
    }
}

/// A row for Python: class, bases, meaning, verdict.
type Row = (&'static str, Vec<&'static str>, &'static str, Option<&'static str>);

/// The table.
#[pyfunction]
pub(crate) fn error_table() -> Vec<Row> {
    let row = |kind: &Kind| {
        let (name, bases, meaning) = kind.row();
        (name, bases.to_vec(), meaning, kind.verdict())
    };
    Kind::ALL.iter().map(row).collect()
}

/// What went wrong: one line.
#[derive(Debug)]
pub(crate) struct Error {
    kind: Kind,
    message: String,
}

impl Error {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    fn of(kind: Kind, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(kind, kpo::chain(error))
    }
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        let raised = |py: Python<'_>| -> PyResult<PyErr> {
            let class = py.import("kpo.errors")?.getattr(error.kind.row().0)?;
            Ok(PyErr::from_type(class.cast_into::<PyType>()?, error.message.clone()))
        };
        // Without Python there is nobody to raise it for.
        let raised = Python::try_attach(|py| raised(py).unwrap_or_else(|unable| unable));
        raised.unwrap_or_else(|| PyRuntimeError::new_err(error.message))
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        Self::of(Kind::Connection, &error)
    }
}

impl From<ManifestError> for Error {
    fn from(error: ManifestError) -> Self {
        Self::of(Kind::Input, &error)
    }
}

impl From<OptionsError> for Error {
    fn from(error: OptionsError) -> Self {
        Self::of(Kind::Input, &error)
    }
}

impl From<RequestError> for Error {
    fn from(error: RequestError) -> Self {
        if let Some(rule) = error.missing_rule() {
            return Self::new(Kind::Forbidden, format!("{}; the rule that allows it: {rule}", kpo::chain(&error)));
        }
        let kind = match &error.failure {
            failure if failure.is_forbidden() => Kind::Forbidden,
            ApiFailure::Transport { .. } | ApiFailure::Credentials(_) | ApiFailure::Unauthorized(_) => Kind::Connection,
            _ => Kind::Refused,
        };
        Self::of(kind, &error)
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotFound(error) => Self::of(Kind::PodNotFound, &*error),
            ReadError::Request(error) => error.into(),
        }
    }
}

impl From<AttachFailure> for Error {
    fn from(error: AttachFailure) -> Self {
        match error {
            AttachFailure::List { source, .. } => source.into(),
            AttachFailure::Found(error @ AttachError::NoPod { .. }) => Self::of(Kind::NotFound, &error),
            error => Self::of(Kind::Refused, &error),
        }
    }
}

impl Error {
    /// A task's name is taken.
    pub(crate) fn in_use(task: &str, namespace: &str, in_use: &InUse) -> Self {
        let message = match in_use {
            InUse::Kept { pod } => format!("task {task} has ended, and its pod {pod} in namespace {namespace} is kept"),
            InUse::There { pod } => format!("task {task} is there already, in namespace {namespace}: pod {pod}"),
        };
        Self::new(Kind::TaskExists, message)
    }
}
