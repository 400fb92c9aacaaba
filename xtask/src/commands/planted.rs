//! `cargo xtask sim --planted [NAME…]`: plants one bug at a time in a copy of the sources, and
//! checks that the simulation finds it.
//!
//! The bugs are patches in tests/planted/.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Failure};
use crate::steps::simulation::{PROGRAM, SEEDS};
use crate::workspace::Workspace;

/// The invariant that a bug violated, and the seed that found the bug.
struct Violation {
    seed: String,
    invariant: String,
}

/// Plants each bug whose name contains one of `names`, or every bug if `names` is empty, and prints
/// the seed that found it. Fails if the simulation misses a bug.
pub(crate) fn run(workspace: &Workspace, names: &[OsString]) -> Result<(), Failure> {
    let copy = Workspace {
        root: workspace.target.join("planted").join("sources"),
        target: workspace.target.join("planted").join("build"),
    };
    let mut missed = Vec::new();
    println!("{:<36} {:>7}  invariant", "bug", "seed");
    for patch in find_patches(&workspace.root.join("tests/planted"))? {
        let name = patch.file_stem().unwrap_or_default().to_string_lossy();
        let is_named = |part: &OsString| name.contains(&*part.to_string_lossy());
        if !names.is_empty() && !names.iter().any(is_named) {
            continue;
        }
        copy_sources(workspace, &copy)?;
        run::capture(
            &format!("plant {name}"),
            Command::new("patch")
                .current_dir(&copy.root)
                .args(["-p1", "--forward", "-i"])
                .arg(&patch),
        )?;
        if let Some(Violation { seed, invariant }) = simulate(&copy, &name)? {
            println!("{name:<36} {seed:>7}  {invariant}");
        } else {
            println!("{name:<36} {:>7}", "MISSED");
            missed.push(name.into_owned());
        }
    }
    if missed.is_empty() {
        return Ok(());
    }
    let missed = missed.join(", ");
    Err(Failure::new(format!("the simulation missed {missed}")))
}

/// Builds the copy and simulates until an invariant is violated. Returns `None` if no invariant is
/// violated.
fn simulate(copy: &Workspace, name: &str) -> Result<Option<Violation>, Failure> {
    let mut cargo = copy.cargo();
    cargo.args(["build", "--profile", "sim", "--locked", "-p", PROGRAM]);
    // The crates that are built again for each bug are optimized less, which is faster overall.
    for package in ["agent", "controller", "core", "simulation"] {
        let profile = format!("profile.sim.package.scuttle-{package}");
        cargo.args(["--config", &format!("{profile}.opt-level=1")]);
        cargo.args(["--config", &format!("{profile}.debug=false")]);
    }
    run::capture(&format!("build with {name}"), &mut cargo)?;
    let mut command = Command::new(copy.target.join("sim").join(PROGRAM));
    command.args(["--seeds", SEEDS]);
    let output =
        (command.output()).map_err(|error| run::cannot_start("simulate", &command, &error))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let found = printed.lines().find_map(|line| line.strip_prefix("seed "));
    let found = found.and_then(|line| line.split_once(": "));
    Ok(found.map(|(seed, message)| {
        let invariant = message.split(": ").next().unwrap_or(message);
        Violation {
            seed: seed.to_owned(),
            invariant: invariant.to_owned(),
        }
    }))
}

fn find_patches(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut patches = list(folder)?;
    patches.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "patch")
    });
    patches.sort();
    Ok(patches)
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |error| Failure::new(format!("cannot read {}: {error}", folder.display()));
    let entries = fs::read_dir(folder).map_err(failed)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<Result<_, _>>().map_err(failed)
}

/// Copies the manifest, the lock file and every package from the sources. An unchanged file keeps
/// its modification time, so that cargo rebuilds only the crates that this bug or the previous bug
/// affects.
fn copy_sources(workspace: &Workspace, copy: &Workspace) -> Result<(), Failure> {
    // The controller embeds the web page from this folder, which stays empty.
    let page = copy.root.join("web").join("dist");
    fs::create_dir_all(&page)
        .map_err(|error| Failure::new(format!("cannot create {}: {error}", page.display())))?;
    for path in list(&workspace.root)? {
        let name = path.file_name().unwrap_or_default();
        let is_manifest = ["Cargo.toml", "Cargo.lock"]
            .iter()
            .any(|file| name == *file);
        if is_manifest || path.join("Cargo.toml").is_file() {
            mirror(&path, &copy.root.join(name)).map_err(|error| {
                Failure::new(format!("cannot copy {}: {error}", path.display()))
            })?;
        }
    }
    Ok(())
}

fn mirror(from: &Path, to: &Path) -> io::Result<()> {
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
    if fs::read(to).is_ok_and(|copied| copied == content) {
        return Ok(());
    }
    fs::write(to, content)
}
