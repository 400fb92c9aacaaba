//! `cargo xtask test`: every check that CI makes, what fails soonest first; with `--docker`, those that need root and a
//! Docker of their own; with `--web`, those that need Node and a browser.
//!
//! What a check looks for is elsewhere: tidy.rs, clippy.toml, deny.toml, docker.rs, web.rs, and the tests themselves.

use std::ffi::OsString;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::run::{self, Failure};
use crate::workspace::Workspace;
use crate::{apt, docker, instructions, nats_server, programs, promtool, sim, tidy, web};

/// How a step ended that did not fail.
pub(crate) enum Outcome {
    Passed,
    Skipped,
}

type Step = fn(&Workspace) -> Result<Outcome, Failure>;

const STEPS: [(&str, Step); 12] = [
    ("tools", tools),
    ("tidy", tidy_rules),
    ("format", format),
    ("dependencies", dependencies),
    ("alerts", promtool::alerts),
    ("lint", lint),
    ("programs", build_programs),
    ("tests", tests),
    ("instructions", instructions::check),
    ("simulation", simulation),
    ("chaos", chaos),
    ("chaos on a cluster", chaos_on_a_cluster),
];

const DOCKER_STEPS: [(&str, Step); 3] = [
    ("docker tools", docker::tools),
    ("programs", build_programs),
    ("docker tests", docker::tests),
];

const WEB_STEPS: [(&str, Step); 4] = [
    ("web tools", web::tools),
    ("page", web::page),
    ("programs", build_programs),
    ("web tests", web::tests),
];

/// How many seeds are simulated.
const SEEDS: &str = "20000";

/// For how many minutes things are killed.
const MINUTES: &str = "3";
const MINUTES_ON_A_CLUSTER: &str = "1.5";

/// Over how many partitions the hosts are divided there.
const PARTITIONS: &str = "2";

/// Runs the steps in order, up to the first that fails.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Failure> {
    match arguments {
        [] => run_steps(workspace, &STEPS),
        [docker] if docker == "--docker" => run_steps(workspace, &DOCKER_STEPS),
        [web] if web == "--web" => run_steps(workspace, &WEB_STEPS),
        _ => Err(Failure::usage(
            "`test` takes `--docker`, `--web` or nothing",
        )),
    }
}

fn run_steps(workspace: &Workspace, steps: &[(&str, Step)]) -> Result<(), Failure> {
    let start = Instant::now();
    let (mut passed, mut skipped) = (0, 0);
    let mut result = Ok(());
    for (name, step) in steps {
        println!("── {name}");
        let step_start = Instant::now();
        let (ended, took) = (step(workspace), step_start.elapsed());
        match ended {
            Ok(Outcome::Passed) => {
                passed += 1;
                println!("── {name}: passed in {}", seconds(took));
            }
            Ok(Outcome::Skipped) => {
                skipped += 1;
                println!("── {name}: skipped");
            }
            Err(failure) => {
                println!("── {name}: failed after {}", seconds(took));
                result = Err(failure);
                break;
            }
        }
    }
    println!("── all that ran took {}", seconds(start.elapsed()));
    // CI reads this form. The tests' own counts are above: these are the steps'.
    let failed = usize::from(result.is_err());
    println!("steps: {passed} passed, {failed} failed, {skipped} skipped");
    result
}

/// Without these the later steps would fail with less to say. Nothing is downloaded here.
fn tools(workspace: &Workspace) -> Result<Outcome, Failure> {
    for (tool, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        run::quietly(
            &format!("find `cargo {tool}`"),
            workspace.cargo().args([tool, "--version"]),
        )
        .map_err(|failure| failure.advise(&format!("run `rustup component add {component}`")))?;
    }
    // A terminal for the command under test.
    if !apt::is_there("script") {
        let advice = "install util-linux (on Debian: bsdutils)";
        return Err(Failure::new("there is no `script` on the PATH").advise(advice));
    }
    Ok(Outcome::Passed)
}

fn tidy_rules(workspace: &Workspace) -> Result<Outcome, Failure> {
    tidy::run(workspace, &[])?;
    Ok(Outcome::Passed)
}

fn format(workspace: &Workspace) -> Result<Outcome, Failure> {
    run::run(
        "pass the format check",
        workspace.cargo().args(["fmt", "--all", "--check"]),
    )
    .map_err(|failure| failure.advise("run `cargo fmt --all`"))?;
    Ok(Outcome::Passed)
}

/// cargo-deny takes minutes to build, so a newcomer need not have it.
fn dependencies(workspace: &Workspace) -> Result<Outcome, Failure> {
    if run::quietly(
        "find cargo-deny",
        workspace.cargo().args(["deny", "--version"]),
    )
    .is_err()
    {
        println!("cargo-deny is not installed: `cargo install cargo-deny --locked` gets it");
        return Ok(Outcome::Skipped);
    }
    run::run(
        "pass the checks of deny.toml",
        workspace
            .cargo()
            .args(["deny", "--locked", "check", "bans", "licenses", "sources"]),
    )?;
    Ok(Outcome::Passed)
}

fn lint(workspace: &Workspace) -> Result<Outcome, Failure> {
    run::run(
        "pass the lints",
        workspace
            .cargo()
            .args(["clippy", "--workspace", "--all-targets", "--all-features"])
            .args(["--locked", "--", "-D", "warnings"]),
    )?;
    Ok(Outcome::Passed)
}

/// The programs that the black-box tests start: cargo builds a program for its own package's tests alone.
/// With the same features as the tests, so that nothing is built twice.
fn build_programs(workspace: &Workspace) -> Result<Outcome, Failure> {
    run::run(
        "build the programs under test",
        workspace.cargo().args([
            "build",
            "--workspace",
            "--bins",
            "--all-features",
            "--locked",
        ]),
    )?;
    Ok(Outcome::Passed)
}

fn tests(workspace: &Workspace) -> Result<Outcome, Failure> {
    let server = nats_server::find_or_install(workspace)?;
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--workspace", "--all-features", "--locked"]);
    programs::environment(
        &mut cargo,
        workspace,
        &server,
        &workspace.target.join("debug"),
    );
    if let Some(promtool) = promtool::find_or_fetch(workspace)? {
        cargo.env("SCUTTLE_PROMTOOL", promtool);
    }
    run::run("pass the tests", &mut cargo)?;
    Ok(Outcome::Passed)
}

fn simulation(workspace: &Workspace) -> Result<Outcome, Failure> {
    let mut command = Command::new(sim::build(workspace)?);
    command.args(["--seeds", SEEDS]);
    run::run("pass the simulation", &mut command)?;
    Ok(Outcome::Passed)
}

fn chaos(workspace: &Workspace) -> Result<Outcome, Failure> {
    chaos_with(workspace, &["--minutes", MINUTES])
}

fn chaos_on_a_cluster(workspace: &Workspace) -> Result<Outcome, Failure> {
    let minutes = ["--cluster", "--minutes", MINUTES_ON_A_CLUSTER];
    chaos_with(
        workspace,
        &[&minutes[..], &["--shards-of-control", PARTITIONS]].concat(),
    )
}

fn chaos_with(workspace: &Workspace, arguments: &[&str]) -> Result<Outcome, Failure> {
    let server = nats_server::find_or_install(workspace)?;
    let programs = workspace.target.join("debug");
    let mut command = Command::new(programs.join("scuttle-chaos"));
    command.args(arguments);
    programs::environment(&mut command, workspace, &server, &programs);
    run::run("pass the chaos run", &mut command)?;
    Ok(Outcome::Passed)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
