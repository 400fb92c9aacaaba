//! `cargo xtask demo`: builds Scuttle and becomes `scuttle-demo`.
//!
//! What the demo does, and that it stops all that it started, is in tests/: nothing of it is here.

use std::ffi::OsString;

use crate::programs;
use crate::run::Failure;
use crate::workspace::Workspace;

/// Returns only when the demo could not be started.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Failure {
    programs::become_program(workspace, "scuttle-demo", arguments)
}
