//! `cargo xtask sim`: builds the deterministic simulation and becomes it; with `--planted`, plants one bug after
//! the other into a copy of the sources and sees that the simulation finds each.
//!
//! What is simulated and judged is in tests/simulation/; the bugs are patches in tests/planted/.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Failure};
use crate::workspace::Workspace;

const PROGRAM: &str = "scuttle-simulation";

/// How many seeds a planted bug may hide from.
const SEEDS: &str = "20000";

/// What a copy of the sources is made of.
const SOURCES: [&str; 13] = [
    "Cargo.toml",
    "Cargo.lock",
    "agent",
    "agent-sim",
    "bench",
    "cli",
    "controller",
    "core",
    "nats",
    "schemas",
    "telemetry",
    "tests",
    "xtask",
];

pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<(), Failure> {
    if arguments.first().is_some_and(|first| first == "--planted") {
        return planted(workspace, &arguments[1..]);
    }
    let program = build(workspace)?;
    let mut command = Command::new(&program);
    command.args(arguments);
    let error = command.exec();
    Err(run::cannot_start("simulate", &command, &error))
}

/// Builds the simulation; answers where it is.
///
/// # Errors
/// It does not build.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--profile", "sim", "--locked", "-p", PROGRAM]);
    run::run("build the simulation", &mut cargo)?;
    Ok(workspace.target.join("sim").join(PROGRAM))
}

/// Plants each bug, or those whose name contains one of `only`, and shows which seed caught it.
fn planted(workspace: &Workspace, only: &[OsString]) -> Result<(), Failure> {
    let copy = Workspace {
        root: workspace.target.join("planted").join("sources"),
        target: workspace.target.join("planted").join("build"),
    };
    let mut missed = Vec::new();
    println!("{:<36} {:>7}  by", "bug", "seed");
    for patch in patches(&workspace.root.join("tests/planted"))? {
        let name = patch
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !only.is_empty()
            && !only
                .iter()
                .any(|part| name.contains(&*part.to_string_lossy()))
        {
            continue;
        }
        copy_sources(workspace, &copy)?;
        run::quietly(
            &format!("plant {name}"),
            Command::new("patch")
                .current_dir(&copy.root)
                .args(["-p1", "--forward", "-i"])
                .arg(&patch),
        )?;
        if let Some((seed, invariant)) = caught(&copy, &name)? {
            println!("{name:<36} {seed:>7}  {invariant}");
        } else {
            println!("{name:<36} {:>7}", "MISSED");
            missed.push(name);
        }
    }
    if missed.is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "the simulation missed {}",
        missed.join(", ")
    )))
}

/// Builds the copy and simulates until an invariant is broken: by which seed, and which.
fn caught(copy: &Workspace, name: &str) -> Result<Option<(String, String)>, Failure> {
    let mut cargo = copy.cargo();
    cargo.args(["build", "--profile", "sim", "--locked", "-p", PROGRAM]);
    // What is built for one bug alone is built quickly.
    for package in ["agent", "controller", "core", "simulation"] {
        let profile = format!("profile.sim.package.scuttle-{package}");
        cargo.args(["--config", &format!("{profile}.opt-level=1")]);
        cargo.args(["--config", &format!("{profile}.debug=false")]);
    }
    run::quietly(&format!("build with {name}"), &mut cargo)?;
    let mut command = Command::new(copy.target.join("sim").join(PROGRAM));
    command.args(["--seeds", SEEDS]);
    let output =
        (command.output()).map_err(|error| run::cannot_start("simulate", &command, &error))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let found = printed.lines().find_map(|line| line.strip_prefix("seed "));
    let found = found.and_then(|line| line.split_once(": "));
    Ok(found.map(|(seed, broken)| {
        let invariant = broken.split(": ").next().unwrap_or(broken);
        (seed.to_owned(), invariant.to_owned())
    }))
}

fn patches(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| Failure::new(format!("cannot read {}: {error}", folder.display()));
    let mut patches = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "patch")
        {
            patches.push(path);
        }
    }
    patches.sort();
    Ok(patches)
}

/// Brings the copy in line with the sources; a file that is as it was keeps its time, so that cargo builds
/// only what a bug, or the one before it, has touched.
fn copy_sources(workspace: &Workspace, copy: &Workspace) -> Result<(), Failure> {
    // The controller takes in the page that is there: none.
    let page = copy.root.join("web").join("dist");
    fs::create_dir_all(&page)
        .map_err(|error| Failure::new(format!("cannot make {}: {error}", page.display())))?;
    for name in SOURCES {
        let (from, to) = (workspace.root.join(name), copy.root.join(name));
        if from.exists() {
            mirror(&from, &to).map_err(|error| {
                Failure::new(format!("cannot copy {}: {error}", from.display()))
            })?;
        }
    }
    Ok(())
}

fn mirror(from: &Path, to: &Path) -> std::io::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            if name != "target" && name != "node_modules" {
                mirror(&from.join(&name), &to.join(&name))?;
            }
        }
        return Ok(());
    }
    let content = fs::read(from)?;
    if fs::read(to).is_ok_and(|there| there == content) {
        return Ok(());
    }
    fs::write(to, content)
}
