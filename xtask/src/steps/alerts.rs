//! Checks the alert rules in packaging/prometheus/ with Prometheus' own `promtool`, and runs their
//! tests.

use std::process::Command;

use crate::run::{self, Failure};
use crate::step::Outcome;
use crate::tools::promtool;
use crate::workspace::Workspace;

pub(crate) fn check(workspace: &Workspace) -> Result<Outcome, Failure> {
    let Some(promtool) = promtool::find_or_fetch(workspace)? else {
        println!(
            "there is no promtool: install Debian's package {}, or name one in SCUTTLE_PROMTOOL",
            promtool::PACKAGE
        );
        return Ok(Outcome::Skipped);
    };
    let rules = workspace.root.join("packaging/prometheus");
    for (what, arguments) in [
        ("check the alert rules", ["check", "rules", "alerts.yml"]),
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
