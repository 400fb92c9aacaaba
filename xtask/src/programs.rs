//! Builds Scuttle's programs, and becomes one of them.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::nats_server;
use crate::run::{self, Failure};
use crate::workspace::Workspace;

/// Builds the package, and what its programs start, for release, and turns this process into `program`; returns only on failure.
///
/// Not a child: Ctrl-C goes to the whole foreground group, and the program must be able to stop what it
/// started while nothing above it has died and given the terminal back.
pub(crate) fn become_program(
    workspace: &Workspace,
    (package, program): (&str, &str),
    arguments: &[OsString],
) -> Failure {
    let (server, directory) = match prepare(workspace, package) {
        Ok(prepared) => prepared,
        Err(failure) => return failure,
    };
    let mut command = Command::new(directory.join(program));
    command.args(arguments);
    environment(&mut command, workspace, &server, &directory);
    let error = command.exec();
    run::cannot_start(&format!("become {program}"), &command, &error)
}

/// What the demo, the bench and the tests are told: where the server, the programs and the repository are.
pub(crate) fn environment(
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

fn prepare(workspace: &Workspace, package: &str) -> Result<(PathBuf, PathBuf), Failure> {
    let server = nats_server::find_or_install(workspace)?;
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--release", "--locked", "--bins"]);
    cargo.args(["-p", "scuttle-controller", "-p", "scuttle-agent-sim"]);
    cargo.args(["-p", package]);
    run::run("build Scuttle", &mut cargo)?;
    Ok((server, workspace.target.join("release")))
}
