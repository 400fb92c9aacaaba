//! Builds Scuttle's programs for release, and replaces this process with one of them.
//!
//! The debug builds for the tests are in steps/rust.rs.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Failure};
use crate::tools::nats_server;
use crate::workspace::Workspace;

pub(crate) struct Program {
    pub(crate) package: &'static str,
    pub(crate) name: &'static str,
    /// The further packages whose programs the program starts, besides the controller and the agent
    /// simulator.
    pub(crate) uses: &'static [&'static str],
    /// The environment variables that only this program reads.
    pub(crate) environment: Vec<(&'static str, PathBuf)>,
}

/// Builds a program and the programs that it starts, and replaces this process with the program.
/// Returns only on failure.
///
/// The program is not a child process, because Ctrl-C goes to the whole foreground process group,
/// and the program needs time to stop the processes that it started. If xtask were its parent,
/// xtask would end immediately and return the terminal to the shell too early.
pub(crate) fn replace_process(
    workspace: &Workspace,
    program: &Program,
    arguments: &[OsString],
) -> Failure {
    let server = match nats_server::find_or_install(workspace) {
        Ok(server) => server,
        Err(failure) => return failure,
    };
    let directory = match build(workspace, program) {
        Ok(directory) => directory,
        Err(failure) => return failure,
    };
    let mut command = Command::new(directory.join(program.name));
    command
        .args(arguments)
        .envs(program.environment.iter().cloned());
    set_environment(&mut command, workspace, &server, &directory);
    let error = command.exec();
    run::cannot_start(&format!("run {}", program.name), &command, &error)
}

/// Sets the environment variables that give the demo, the benchmarks and the tests the paths of the
/// NATS server, the programs' folder and the repository.
pub(crate) fn set_environment(
    command: &mut Command,
    workspace: &Workspace,
    server: &Path,
    directory: &Path,
) {
    command
        .env("SCUTTLE_NATS_SERVER", server)
        .env("SCUTTLE_BIN_DIR", directory)
        .env("SCUTTLE_REPO", &workspace.root);
}

/// Builds the controller, the agent simulator, and the packages that `program` names for release.
/// Returns the folder of the programs.
fn build(workspace: &Workspace, program: &Program) -> Result<PathBuf, Failure> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "--bins"]);
    cargo.args(["-p", "scuttle-controller", "-p", "scuttle-agent-sim"]);
    for package in [program.package].iter().chain(program.uses) {
        cargo.args(["-p", package]);
    }
    run::run("build Scuttle", &mut cargo)?;
    Ok(workspace.target.join("release"))
}
