//! Builds the deterministic simulation and runs it.
//!
//! The simulation and its checks are in tests/simulation/.

use std::path::PathBuf;
use std::process::Command;

use crate::run::{self, Failure};
use crate::step::Outcome;
use crate::workspace::Workspace;

pub(crate) const PROGRAM: &str = "scuttle-simulation";

/// The number of seeds that the tests simulate. A planted bug must be found within them.
pub(crate) const SEEDS: &str = "20000";

/// Builds the simulation. Returns the path of the program.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--profile", "sim", "--locked", "-p", PROGRAM]);
    run::run("build the simulation", &mut cargo)?;
    Ok(workspace.target.join("sim").join(PROGRAM))
}

pub(crate) fn test(workspace: &Workspace) -> Result<Outcome, Failure> {
    let mut command = Command::new(build(workspace)?);
    command.args(["--seeds", SEEDS]);
    run::run("pass the simulation", &mut command)?;
    Ok(Outcome::Passed)
}
