//! Reads the files that a connection's configuration names. Errors name the file.

use std::fs;
use std::path::Path;

use crate::error::ConnectConfigError;

/// Checks that a PEM file contains a section with this label, such as CERTIFICATE or PRIVATE KEY.
/// `what` describes the content of the file in errors.
///
/// # Errors
/// If the file cannot be read, or has no such section.
pub fn check_pem(what: &'static str, label: &str, path: &Path) -> Result<(), ConnectConfigError> {
    let text = read(what, path)?;
    let begins = |line: &str| line.starts_with("-----BEGIN ") && line.contains(label);
    if text.lines().any(begins) {
        return Ok(());
    }
    Err(ConnectConfigError::NoPem {
        what,
        path: path.to_owned(),
    })
}

/// Reads a text file. `what` describes the content of the file in errors.
pub(crate) fn read(what: &'static str, path: &Path) -> Result<String, ConnectConfigError> {
    fs::read_to_string(path).map_err(|cause| ConnectConfigError::Unreadable {
        what,
        path: path.to_owned(),
        cause,
    })
}
