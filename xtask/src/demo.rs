//! `cargo xtask demo`: builds Scuttle, with its page where there is a Node for that, and becomes `scuttle-demo`.
//!
//! What the demo does, and that it stops all that it started, is in tests/: nothing of it is here.

use std::ffi::OsString;

use crate::run::Failure;
use crate::workspace::Workspace;
use crate::{programs, web};

/// Returns only when the demo could not be started.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Failure {
    if let Err(failure) = web::build(workspace) {
        eprintln!("xtask: the demo goes on without its page in the browser: {failure}");
    }
    programs::become_program(workspace, ("scuttle-tests", "scuttle-demo"), arguments)
}
