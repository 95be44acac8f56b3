//! The forms in which an object is printed.

use crate::error::{CliError, ErrorKind};
use crate::printer::{escaped, is_steering};
use clap::ValueEnum;
use serde::Serialize;

/// `-o` of commands that print an object, or a list of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// As JSON
    Json,
    /// As YAML
    Yaml,
}

impl Form {
    /// The value in this form, with a line feed at its end. Nothing in it steers a terminal.
    pub(crate) fn text(self, value: &impl Serialize) -> Result<String, CliError> {
        let failed = |error: &dyn std::error::Error| CliError::because(ErrorKind::Local, "cannot write it", error);
        let json = || serde_json::to_string_pretty(value).map(escaped).map_err(|error| failed(&error));
        let text = match self {
            Form::Json => json()?,
            Form::Yaml => serde_saphyr::to_string(value).map_err(|error| failed(&error))?,
        };
        // JSON is YAML too, and has escapes everywhere.
        let text = if is_steering(&text) { json()? } else { text };
        Ok(format!("{}\n", text.trim_end()))
    }
}
