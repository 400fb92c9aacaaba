//! Finds cargo-deny, or installs it under target/.
//!
//! The rules that cargo-deny checks are in deny.toml.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::run::{self, Failure};
use crate::workspace::Workspace;

/// The version that is installed if cargo-deny is missing.
const VERSION: &str = "0.20.2";

/// Returns cargo-deny: the program on the PATH, or else one that is installed under target/.
/// Returns `None` if it cannot be installed, for example without a network.
pub(crate) fn find_or_install(workspace: &Workspace) -> Result<Option<PathBuf>, Failure> {
    let found = PathBuf::from("cargo-deny");
    if is_working(&found) {
        return Ok(Some(found));
    }
    let home = workspace.target.join("cargo-deny");
    let installed = home.join("bin/cargo-deny");
    if is_working(&installed) {
        return Ok(Some(installed));
    }
    eprintln!(
        "xtask: installing cargo-deny {VERSION} in {}",
        home.display()
    );
    let mut cargo = workspace.cargo();
    // Built for development, because that takes a third of the time and the check itself takes
    // seconds.
    cargo
        .args(["install", "cargo-deny", "--locked", "--version", VERSION])
        .args(["--debug", "--config", "profile.dev.debug=false"])
        .arg("--root")
        .arg(&home)
        .env("CARGO_TARGET_DIR", home.join("build"));
    match run::capture("install cargo-deny", &mut cargo) {
        Ok(_) => {
            // Only the program is needed from now on.
            let build = home.join("build");
            fs::remove_dir_all(&build).map_err(|error| {
                Failure::new(format!("cannot remove {}: {error}", build.display()))
            })?;
            Ok(Some(installed))
        }
        Err(failure) => {
            println!("{failure}");
            Ok(None)
        }
    }
}

fn is_working(program: &PathBuf) -> bool {
    run::capture("find cargo-deny", Command::new(program).arg("--version")).is_ok()
}
