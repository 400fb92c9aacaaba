//! The steps that call cargo on the whole workspace: format, lints, builds and tests.
//!
//! All steps name the same packages, features and profile, so that cargo builds each crate once for
//! the lints and once for all other steps.

use std::process::Command;

use crate::programs;
use crate::run::{self, Failure};
use crate::step::Outcome;
use crate::tidy;
use crate::tools::{apt, nats_server, promtool};
use crate::workspace::Workspace;

/// The arguments that select the packages and features in every clippy, build and test command.
const WHOLE_WORKSPACE: [&str; 3] = ["--workspace", "--all-features", "--locked"];

/// Checks that the tools needed by later steps are installed.
pub(crate) fn find_tools(workspace: &Workspace) -> Result<Outcome, Failure> {
    for (tool, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        run::capture(
            &format!("find `cargo {tool}`"),
            workspace.cargo().args([tool, "--version"]),
        )
        .map_err(|failure| failure.advise(&format!("run `rustup component add {component}`")))?;
    }
    // It gives the commands under test a terminal.
    if !apt::is_installed("script") {
        let advice = "install util-linux (on Debian: bsdutils)";
        return Err(Failure::new("there is no `script` on the PATH").advise(advice));
    }
    Ok(Outcome::Passed)
}

pub(crate) fn check_tidy(workspace: &Workspace) -> Result<Outcome, Failure> {
    tidy::run(workspace, &[])?;
    Ok(Outcome::Passed)
}

pub(crate) fn check_format(workspace: &Workspace) -> Result<Outcome, Failure> {
    run::run(
        "pass the format check",
        workspace.cargo().args(["fmt", "--all", "--check"]),
    )
    .map_err(|failure| failure.advise("run `cargo fmt --all`"))?;
    Ok(Outcome::Passed)
}

pub(crate) fn lint(workspace: &Workspace) -> Result<Outcome, Failure> {
    let mut cargo = workspace.cargo();
    cargo.arg("clippy").args(WHOLE_WORKSPACE);
    cargo.args(["--all-targets", "--", "-D", "warnings"]);
    run::run("pass the lints", &mut cargo)?;
    Ok(Outcome::Passed)
}

/// The number of tests of a test binary that run at the same time. The tests mostly wait for
/// programs that they have started, so this number may exceed the number of cores.
const THREADS: &str = "4";

/// Builds the programs and the tests. The end-to-end tests start programs of other packages, which
/// `cargo test` does not build. Cargo builds both in one run. If it built the programs alone, it
/// would build the shared crates with fewer features, and then build them again for the tests.
pub(crate) fn build(workspace: &Workspace) -> Result<Outcome, Failure> {
    let mut cargo = workspace.cargo();
    cargo.arg("build").args(WHOLE_WORKSPACE);
    cargo.args(["--bins", "--tests"]);
    run::run("build the programs and the tests", &mut cargo)?;
    Ok(Outcome::Passed)
}

/// Runs every test except those in Docker, with the programs that [`build`] has built.
pub(crate) fn test(workspace: &Workspace) -> Result<Outcome, Failure> {
    let server = nats_server::find_or_install(workspace)?;
    let mut cargo = workspace.cargo();
    cargo.arg("test").args(WHOLE_WORKSPACE);
    programs::set_environment(
        &mut cargo,
        workspace,
        &server,
        &workspace.target.join("debug"),
    );
    set_promtool(&mut cargo, workspace)?;
    cargo.env("RUST_TEST_THREADS", THREADS);
    run::run("pass the tests", &mut cargo)?;
    Ok(Outcome::Passed)
}

fn set_promtool(cargo: &mut Command, workspace: &Workspace) -> Result<(), Failure> {
    if let Some(promtool) = promtool::find_or_fetch(workspace)? {
        cargo.env("SCUTTLE_PROMTOOL", promtool);
    }
    Ok(())
}

/// Runs the unit tests whose name contains `filter`.
pub(crate) fn test_units(workspace: &Workspace, filter: &str) -> Result<Outcome, Failure> {
    let mut cargo = workspace.cargo();
    cargo.arg("test").args(WHOLE_WORKSPACE);
    cargo.args(["--lib", "--bins", "--quiet", "--", filter]);
    set_promtool(&mut cargo, workspace)?;
    run::run("pass the unit tests", &mut cargo)?;
    Ok(Outcome::Passed)
}

/// Returns a command that runs the tests of the Docker runtime, which `cargo test` leaves out.
pub(crate) fn docker_tests(workspace: &Workspace) -> Command {
    let mut cargo = workspace.cargo();
    cargo.arg("test").args(WHOLE_WORKSPACE);
    cargo.args(["--test", "docker", "--", "--ignored"]);
    cargo
}
