//! `cargo xtask demo`: builds Scuttle, and its web page if Node is installed, and replaces this
//! process with `scuttle-demo`.
//!
//! The demo itself, which stops every process that it started, is in tests/demo/.

use std::ffi::OsString;

use crate::programs::{self, Program};
use crate::run::Failure;
use crate::steps::web;
use crate::workspace::Workspace;

/// Replaces this process. Returns only on failure.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Failure {
    if let Err(failure) = web::build(workspace) {
        eprintln!("xtask: the demo runs without its web page: {failure}");
    }
    let program = Program {
        package: "scuttle-tests",
        name: "scuttle-demo",
        uses: &[],
        environment: Vec::new(),
    };
    programs::replace_process(workspace, &program, arguments)
}
