//! Files that the user names.

use crate::error::{CliError, ErrorKind};
use kpo::manifest::Source;
use std::io::Read;
use std::path::Path;

/// The file's text; `-` is standard input.
pub(crate) fn read_source(path: &Path) -> Result<Source, CliError> {
    let (name, bytes) = if path == Path::new("-") {
        let mut bytes = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes);
        ("standard input".to_owned(), read)
    } else {
        (path.display().to_string(), std::fs::read(path))
    };
    let bytes = bytes.map_err(|error| CliError::new(ErrorKind::Input, format!("cannot read {name}: {error}")))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        CliError::input(format!("{name} is no text: byte {at} is not UTF-8"))
    })?;
    // Editors on Windows begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok(Source { name, text })
}
