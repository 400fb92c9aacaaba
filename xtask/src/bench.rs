//! `cargo xtask bench [name]`: builds Scuttle and becomes `scuttle-bench`; `instructions` is counted from here (instructions.rs).
//!
//! What is measured, and how, is in bench/: nothing of it is here.

use std::ffi::OsString;

use crate::instructions;
use crate::programs;
use crate::run::Failure;
use crate::workspace::Workspace;

/// Counts instructions, or returns only when the measurement could not be started.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Failure> {
    match arguments {
        [name] if name == "instructions" => instructions::check(workspace).map(drop),
        [name, renew] if name == "instructions" && renew == "--renew" => {
            instructions::renew(workspace)
        }
        _ => {
            let program = ("scuttle-bench", "scuttle-bench");
            Err(programs::become_program(workspace, program, arguments))
        }
    }
}
