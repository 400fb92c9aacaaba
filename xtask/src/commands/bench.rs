//! `cargo xtask bench [NAME]`: builds Scuttle and replaces this process with `scuttle-bench`.
//!
//! The measurements are in bench/. xtask itself only counts instructions.

use std::ffi::OsString;

use crate::programs::{self, Program};
use crate::run::Failure;
use crate::steps::instructions;
use crate::workspace::Workspace;

/// Counts instructions, or replaces this process with `scuttle-bench`. In the second case, returns
/// only on failure.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Failure> {
    match arguments {
        [name] if name == "instructions" => instructions::check(workspace).map(drop),
        [name, renew] if name == "instructions" && renew == "--renew" => {
            instructions::renew(workspace)
        }
        _ => {
            let program = Program {
                package: "scuttle-bench",
                name: "scuttle-bench",
            };
            Err(programs::replace_process(workspace, &program, arguments))
        }
    }
}
