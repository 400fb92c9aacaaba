//! `cargo xtask bench [NAME]`: builds Scuttle and replaces this process with `scuttle-bench`.
//!
//! The measurements are in bench/. xtask itself only counts instructions. Before `docker`, it also
//! installs the programs that the Docker tests need.

use std::ffi::OsString;

use crate::programs::{self, Program};
use crate::run::Failure;
use crate::steps::{docker, instructions};
use crate::tools::docker_compose;
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
            let mut program = Program {
                package: "scuttle-bench",
                name: "scuttle-bench",
                uses: &[],
                environment: Vec::new(),
            };
            if arguments.first().is_some_and(|name| name == "docker") {
                docker::find_tools(workspace)?;
                program.uses = &["scuttle-agent"];
                program.environment = vec![(
                    docker_compose::VARIABLE,
                    docker_compose::install(workspace)?,
                )];
            }
            Err(programs::replace_process(workspace, &program, arguments))
        }
    }
}
