//! `cargo xtask test --docker`: installs the programs that the Docker tests need, runs the tests,
//! and removes their temporary files.
//!
//! The tests themselves, each of which starts and stops a dockerd, are in tests/docker/.

use std::env;
use std::fs;

use crate::programs;
use crate::run::{self, Failure};
use crate::step::Outcome;
use crate::steps::rust;
use crate::tools::{apt, docker_compose, nats_server};
use crate::workspace::Workspace;

/// The programs, and the Debian packages that contain them. busybox must be the static build,
/// because it is the only file in the image of every container.
const TOOLS: [(&str, &str); 5] = [
    ("dockerd", "docker.io"),
    ("docker", "docker-cli"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("busybox", "busybox-static"),
];

/// The number of tests that run at the same time. The tests mostly wait.
const THREADS: &str = "4";

/// Finds the programs, or installs them.
pub(crate) fn find_tools(workspace: &Workspace) -> Result<Outcome, Failure> {
    if !apt::is_root()? {
        return Err(Failure::new(
            "the Docker tests start a dockerd, which needs root: run them as root, on a machine for tests",
        ));
    }
    // The docker command may be in the package of dockerd. It is installed in the second round if
    // it is still missing then.
    for _ in 0..2 {
        let missing = find_missing();
        let Some((_, first)) = missing.first() else {
            break;
        };
        let is_first_round = *first == "docker.io";
        let packages: Vec<_> = missing
            .iter()
            .filter(|(tool, _)| !is_first_round || *tool != "docker")
            .map(|(_, package)| *package)
            .collect();
        apt::install("the Docker tests", &packages)?;
    }
    if let Some((tool, package)) = find_missing().first() {
        return Err(Failure::new(format!(
            "there is no {tool} on the PATH: install Debian's package {package}, or the one that contains \
             {tool} on this system"
        )));
    }
    docker_compose::install(workspace)?;
    Ok(Outcome::Passed)
}

fn find_missing() -> Vec<(&'static str, &'static str)> {
    let mut tools = TOOLS.to_vec();
    tools.retain(|(tool, _)| !apt::is_installed(tool));
    tools
}

/// Runs the tests. Their files are in a temporary folder, which is removed afterwards.
pub(crate) fn test(workspace: &Workspace) -> Result<Outcome, Failure> {
    let server = nats_server::find_or_install(workspace)?;
    let scratch = env::temp_dir().join(format!("scuttle-{}", std::process::id()));
    fs::create_dir_all(&scratch)
        .map_err(|error| Failure::new(format!("cannot create {}: {error}", scratch.display())))?;
    let mut cargo = rust::docker_tests(workspace);
    cargo
        .args(["--test-threads", THREADS])
        .env(
            docker_compose::VARIABLE,
            docker_compose::install(workspace)?,
        )
        .env("TMPDIR", &scratch);
    let debug = workspace.target.join("debug");
    programs::set_environment(&mut cargo, workspace, &server, &debug);
    let passed = run::run("pass the Docker tests", &mut cargo);
    // Each dockerd ends with its test. What remains are the files of one that was killed.
    let removed = fs::remove_dir_all(&scratch)
        .map_err(|error| Failure::new(format!("cannot remove {}: {error}", scratch.display())));
    passed.and(removed)?;
    Ok(Outcome::Passed)
}
