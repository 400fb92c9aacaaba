//! Reads the TOML configuration file, and finds the line of each value.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use toml::{Spanned, Value};

use crate::error::SettingsError;

/// The id of the option that names the file.
pub(crate) const OPTION: &str = "config";
/// The environment variable that names the file.
pub(crate) const VARIABLE: &str = "SCUTTLE_CONFIG";

/// A top-level key of the file, with its value.
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: Value,
    /// The line of the value, counted from 1.
    pub(crate) line: usize,
}

/// Reads the entries of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<Entry>, SettingsError> {
    let text = fs::read_to_string(path).map_err(|cause| SettingsError::Unreadable {
        path: path.to_owned(),
        cause,
    })?;
    let entries: BTreeMap<String, Spanned<Value>> =
        toml::from_str(&text).map_err(|error| SettingsError::Invalid {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| line_of(&text, &span)),
            // The full text of a TOML error quotes the line, which may contain a password.
            cause: error.message().to_owned(),
        })?;
    let entries = entries.into_iter().map(|(key, value)| Entry {
        key,
        line: line_of(&text, &value.span()),
        value: value.into_inner(),
    });
    Ok(entries.collect())
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    let before = text.as_bytes().iter().take(span.start);
    1 + before.filter(|byte| **byte == b'\n').count()
}
