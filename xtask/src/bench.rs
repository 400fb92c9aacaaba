//! `cargo xtask bench [name]`: builds Scuttle and becomes `scuttle-bench`.
//!
//! What is measured, and how, is in bench/: nothing of it is here.

use std::ffi::OsString;

use crate::programs;
use crate::run::Failure;
use crate::workspace::Workspace;

/// Returns only when the measurement could not be started.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Failure {
    programs::become_program(workspace, ("scuttle-bench", "scuttle-bench"), arguments)
}
