//! `cargo xtask web` and `cargo xtask test --web`: builds the page, which the controller takes in when it is built next, and
//! tests it in a browser. What is tested is in web/.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::run::{self, Failure};
use crate::test::Outcome;
use crate::workspace::Workspace;
use crate::{apt, nats_server, programs};

/// The oldest Node that builds the page.
const NODE: u32 = 20;

/// What the page is made of, beside its lock file.
const SOURCES: [&str; 8] = [
    "web/src",
    "web/public",
    "web/scripts",
    "web/index.html",
    "web/package.json",
    "web/tsconfig.json",
    "web/vite.config.ts",
    "schemas/json",
];

/// Builds the page, if it is not as new as what it is made of.
pub(crate) fn build(workspace: &Workspace) -> Result<(), Failure> {
    let lock = workspace.root.join("web/package-lock.json");
    let installed = workspace.root.join("web/node_modules/.package-lock.json");
    if changed(&lock) > changed(&installed) {
        node()?;
        run::run(
            "install what the page is built with",
            npm(workspace).args(["ci", "--no-audit", "--no-fund"]),
        )?;
    }
    let sources = SOURCES
        .iter()
        .map(|name| newest(&workspace.root.join(name)));
    let newest = sources.max().flatten().max(changed(&lock));
    if newest > changed(&workspace.root.join("web/dist/index.html")) {
        node()?;
        run::run("build the page", npm(workspace).args(["run", "build"]))?;
    }
    Ok(())
}

/// Finds Node and a browser, or installs the browser where it may.
pub(crate) fn tools(_: &Workspace) -> Result<Outcome, Failure> {
    node()?;
    if env::var_os("SCUTTLE_CHROMIUM").is_none() && !apt::is_there("chromium") {
        if !apt::is_root()? {
            return Err(Failure::new(
                "there is no chromium on the PATH: install Debian's chromium, or say in SCUTTLE_CHROMIUM where one is",
            ));
        }
        apt::install("the page's tests", &["chromium", "fonts-liberation"])?;
    }
    Ok(Outcome::Passed)
}

/// The page, checked and built.
pub(crate) fn page(workspace: &Workspace) -> Result<Outcome, Failure> {
    build(workspace)?;
    run::run(
        "pass the page's checks",
        npm(workspace).args(["run", "check"]),
    )?;
    run::run("pass the page's tests", npm(workspace).arg("test"))?;
    Ok(Outcome::Passed)
}

/// The page in a browser, with the programs of the build before.
pub(crate) fn tests(workspace: &Workspace) -> Result<Outcome, Failure> {
    let server = nats_server::find_or_install(workspace)?;
    let mut npm = npm(workspace);
    npm.args(["run", "e2e"]);
    let debug = workspace.target.join("debug");
    programs::environment(&mut npm, workspace, &server, &debug);
    run::run("pass the page's tests in the browser", &mut npm)?;
    Ok(Outcome::Passed)
}

fn npm(workspace: &Workspace) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(workspace.root.join("web"))
        // The system's is used.
        .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1")
        .env("npm_config_update_notifier", "false");
    npm
}

/// Sees that there is a Node of the right age.
fn node() -> Result<(), Failure> {
    let advice = format!("install Node {NODE} or newer, with npm");
    let printed = run::quietly("find Node", Command::new("node").arg("--version"))
        .map_err(|failure| failure.advise(&advice))?;
    let major = printed.trim().trim_start_matches('v').split('.').next();
    if major.and_then(|major| major.parse().ok()).unwrap_or(0) < NODE {
        return Err(Failure::new(format!(
            "Node is {}: {advice}",
            printed.trim()
        )));
    }
    run::quietly("find npm", Command::new("npm").arg("--version"))
        .map_err(|failure| failure.advise(&advice))?;
    Ok(())
}

/// When a file was changed; nothing if it is not there.
fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// When the newest file of a folder was changed.
fn newest(path: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let inner: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    inner
        .iter()
        .map(|path| newest(path))
        .max()
        .flatten()
        .max(changed(path))
}
