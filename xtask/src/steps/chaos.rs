//! Runs the chaos tests with the programs of the debug build.
//!
//! The runs themselves, with their faults and checks, are in tests/chaos/.

use std::process::Command;

use crate::programs;
use crate::run::{self, Failure};
use crate::step::Outcome;
use crate::tools::nats_server;
use crate::workspace::Workspace;

/// The number of minutes during which processes are killed.
const MINUTES: &str = "3";
const MINUTES_ON_CLUSTER: &str = "1.5";

/// The number of partitions in the test on a cluster.
const PARTITIONS: &str = "2";

pub(crate) fn test_single_server(workspace: &Workspace) -> Result<Outcome, Failure> {
    test(workspace, &["--minutes", MINUTES])
}

pub(crate) fn test_cluster(workspace: &Workspace) -> Result<Outcome, Failure> {
    let arguments = [
        "--cluster",
        "--minutes",
        MINUTES_ON_CLUSTER,
        "--partitions",
        PARTITIONS,
    ];
    test(workspace, &arguments)
}

fn test(workspace: &Workspace, arguments: &[&str]) -> Result<Outcome, Failure> {
    let server = nats_server::find_or_install(workspace)?;
    let programs = workspace.target.join("debug");
    let mut command = Command::new(programs.join("scuttle-chaos"));
    command.args(arguments);
    programs::set_environment(&mut command, workspace, &server, &programs);
    run::run("pass the chaos run", &mut command)?;
    Ok(Outcome::Passed)
}
