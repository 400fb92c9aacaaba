//! `cargo xtask web` and `cargo xtask test --web`: builds the web page and tests it in a browser.
//!
//! The page and its tests are in web/. The next build of the controller embeds the page.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::programs;
use crate::run::{self, Failure};
use crate::step::Outcome;
use crate::tools::{nats_server, node};
use crate::workspace::Workspace;

/// The sources of the page, except its lock file.
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

/// Builds the page if one of its sources is newer than the last build. Installs the packages for
/// the build first if they are out of date.
pub(crate) fn build(workspace: &Workspace) -> Result<(), Failure> {
    let lock = workspace.root.join("web/package-lock.json");
    let installed = workspace.root.join("web/node_modules/.package-lock.json");
    if modified(&lock) > modified(&installed) {
        node::find()?;
        run::run(
            "install the packages that build the page",
            node::npm(workspace).args(["ci", "--no-audit", "--no-fund"]),
        )?;
    }
    let sources = SOURCES
        .iter()
        .map(|name| last_modified(&workspace.root.join(name)));
    let newest = sources.max().flatten().max(modified(&lock));
    if newest > modified(&workspace.root.join("web/dist/index.html")) {
        node::find()?;
        run::run(
            "build the page",
            node::npm(workspace).args(["run", "build"]),
        )?;
    }
    Ok(())
}

pub(crate) fn find_tools(_: &Workspace) -> Result<Outcome, Failure> {
    node::find()?;
    node::find_browser()?;
    Ok(Outcome::Passed)
}

/// Builds the page, and runs its checks and unit tests.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome, Failure> {
    build(workspace)?;
    run::run(
        "pass the page's checks",
        node::npm(workspace).args(["run", "check"]),
    )?;
    run::run(
        "pass the page's unit tests",
        node::npm(workspace).arg("test"),
    )?;
    Ok(Outcome::Passed)
}

/// Tests the page in a browser, with the programs of the debug build.
pub(crate) fn test(workspace: &Workspace) -> Result<Outcome, Failure> {
    let server = nats_server::find_or_install(workspace)?;
    let mut npm = node::npm(workspace);
    npm.args(["run", "e2e"]);
    let debug = workspace.target.join("debug");
    programs::set_environment(&mut npm, workspace, &server, &debug);
    run::run("pass the page's tests in the browser", &mut npm)?;
    Ok(Outcome::Passed)
}

/// Returns the time at which a file was last modified, or `None` if it does not exist.
fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).ok()?.modified().ok()
}

/// Returns the time of the last change to a file, or to a folder and everything in it.
fn last_modified(path: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let inner: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    inner
        .iter()
        .map(|path| last_modified(path))
        .max()
        .flatten()
        .max(modified(path))
}
