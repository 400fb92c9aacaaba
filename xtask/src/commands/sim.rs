//! `cargo xtask sim`: builds the deterministic simulation and replaces this process with it.
//!
//! The simulation and its checks are in tests/simulation/; `--planted` is in planted.rs.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::commands::planted;
use crate::run::{self, Failure};
use crate::steps::simulation;
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Failure> {
    if let [first, names @ ..] = arguments
        && first == "--planted"
    {
        return planted::run(workspace, names);
    }
    let mut command = Command::new(simulation::build(workspace)?);
    command.args(arguments);
    let error = command.exec();
    Err(run::cannot_start("simulate", &command, &error))
}
