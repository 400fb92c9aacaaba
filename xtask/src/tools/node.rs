//! Finds Node, npm and a browser for the web page.
//!
//! The step that uses these programs is in steps/web.rs.

use std::env;
use std::process::Command;

use crate::run::{self, Failure};
use crate::tools::apt;
use crate::workspace::Workspace;

/// The oldest major version of Node that can build the page.
const OLDEST_NODE: u32 = 20;

/// Checks that Node is new enough and that npm is installed.
pub(crate) fn find() -> Result<(), Failure> {
    let advice = format!("install Node {OLDEST_NODE} or newer, with npm");
    let printed = run::capture("find Node", Command::new("node").arg("--version"))
        .map_err(|failure| failure.advise(&advice))?;
    let printed = printed.trim();
    let major = printed.trim_start_matches('v').split('.').next();
    if major.and_then(|major| major.parse().ok()).unwrap_or(0) < OLDEST_NODE {
        return Err(Failure::new(format!("Node is {printed}: {advice}")));
    }
    run::capture("find npm", Command::new("npm").arg("--version"))
        .map_err(|failure| failure.advise(&advice))?;
    Ok(())
}

/// Finds the browser that the tests use, or installs it if this process runs as root.
pub(crate) fn find_browser() -> Result<(), Failure> {
    if env::var_os("SCUTTLE_CHROMIUM").is_some() || apt::is_installed("chromium") {
        return Ok(());
    }
    if !apt::is_root()? {
        return Err(Failure::new(
            "there is no chromium on the PATH: install Debian's package chromium, or name a browser in \
             SCUTTLE_CHROMIUM",
        ));
    }
    apt::install(
        "the tests of the web page",
        &["chromium", "fonts-liberation"],
    )
}

/// Returns a command that calls npm in the page's folder.
pub(crate) fn npm(workspace: &Workspace) -> Command {
    let mut npm = Command::new("npm");
    npm.current_dir(workspace.root.join("web"))
        // The tests use the browser that is installed.
        .env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1")
        .env("npm_config_update_notifier", "false");
    npm
}
