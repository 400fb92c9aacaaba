//! `cargo xtask chaos`: builds Scuttle and replaces this process with `scuttle-chaos`.
//!
//! The faults, and the checks that nothing was lost, are in tests/chaos/.

use std::ffi::OsString;

use crate::programs::{self, Program};
use crate::run::Failure;
use crate::workspace::Workspace;

/// Replaces this process. Returns only on failure.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Failure {
    let program = Program {
        package: "scuttle-tests",
        name: "scuttle-chaos",
        uses: &[],
        environment: Vec::new(),
    };
    programs::replace_process(workspace, &program, arguments)
}
