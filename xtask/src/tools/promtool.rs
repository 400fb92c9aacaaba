//! Finds Prometheus' `promtool`, or extracts it from Debian's package. The package is not
//! installed, because installing it would start a server.
//!
//! The step that runs promtool is in steps/alerts.rs.

use std::env;
use std::fs;
use std::path::PathBuf;

use crate::run::Failure;
use crate::tools::apt;
use crate::workspace::Workspace;

/// The Debian package that contains promtool.
pub(crate) const PACKAGE: &str = "prometheus";

/// Returns the path of promtool: the program that `SCUTTLE_PROMTOOL` names, the program on the
/// PATH, or a program fetched with apt-get. Returns `None` if promtool is missing and cannot be
/// fetched.
pub(crate) fn find_or_fetch(workspace: &Workspace) -> Result<Option<PathBuf>, Failure> {
    if let Some(given) = env::var_os("SCUTTLE_PROMTOOL") {
        return Ok(Some(given.into()));
    }
    if apt::is_installed("promtool") {
        return Ok(Some("promtool".into()));
    }
    let home = workspace.target.join("promtool");
    let fetched = home.join("usr/bin/promtool");
    if fetched.is_file() {
        return Ok(Some(fetched));
    }
    if !apt::is_installed("apt-get") {
        return Ok(None);
    }
    fs::create_dir_all(&home)
        .map_err(|error| Failure::new(format!("cannot create {}: {error}", home.display())))?;
    match apt::extract(PACKAGE, &home) {
        Ok(()) => Ok(Some(fetched)),
        Err(failure) => {
            println!("{failure}");
            Ok(None)
        }
    }
}
