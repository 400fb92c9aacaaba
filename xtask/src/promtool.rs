//! The alert rules, as Prometheus itself reads and tests them, with its `promtool`: found, or taken out of Debian's package
//! without installing that, which would start a server.
//!
//! What each alert is for is in packaging/prometheus/.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::apt;
use crate::run::{self, Failure};
use crate::test::Outcome;
use crate::workspace::Workspace;

/// The Debian package that has it.
const PACKAGE: &str = "prometheus";

/// Checks the rules, and runs their tests.
pub(crate) fn alerts(workspace: &Workspace) -> Result<Outcome, Failure> {
    let Some(promtool) = find_or_fetch(workspace)? else {
        println!(
            "there is no promtool: install Debian's {PACKAGE}, or say in SCUTTLE_PROMTOOL where one is"
        );
        return Ok(Outcome::Skipped);
    };
    let rules = workspace.root.join("packaging/prometheus");
    for (what, arguments) in [
        (
            "find the alert rules in order",
            ["check", "rules", "alerts.yml"],
        ),
        (
            "pass the tests of the alert rules",
            ["test", "rules", "alerts.test.yml"],
        ),
    ] {
        run::run(
            what,
            Command::new(&promtool).args(arguments).current_dir(&rules),
        )?;
    }
    Ok(Outcome::Passed)
}

/// Where it is: nowhere, if it is neither here nor to be had.
pub(crate) fn find_or_fetch(workspace: &Workspace) -> Result<Option<PathBuf>, Failure> {
    if let Some(given) = env::var_os("SCUTTLE_PROMTOOL") {
        return Ok(Some(given.into()));
    }
    if apt::is_there("promtool") {
        return Ok(Some("promtool".into()));
    }
    let home = workspace.target.join("promtool");
    let fetched = home.join("usr/bin/promtool");
    if fetched.is_file() {
        return Ok(Some(fetched));
    }
    if !apt::is_there("apt-get") || !apt::is_root()? {
        return Ok(None);
    }
    fs::create_dir_all(&home)
        .map_err(|error| Failure::new(format!("cannot make {}: {error}", home.display())))?;
    match apt::extract(PACKAGE, &home) {
        Ok(()) => Ok(Some(fetched)),
        Err(failure) => {
            println!("{failure}");
            Ok(None)
        }
    }
}
