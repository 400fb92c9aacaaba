//! `cargo xtask chaos`: builds Scuttle and becomes `scuttle-chaos`.
//!
//! What is killed, and how it is checked that nothing was lost, is in tests/: nothing of it is here.

use std::ffi::OsString;

use crate::programs;
use crate::run::Failure;
use crate::workspace::Workspace;

/// Returns only when it could not be started.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Failure {
    programs::become_program(workspace, ("scuttle-tests", "scuttle-chaos"), arguments)
}
