//! Checks the dependencies against the rules in deny.toml for licenses, sources and banned crates.

use std::process::Command;

use crate::run::{self, Failure};
use crate::step::Outcome;
use crate::tools::cargo_deny;
use crate::workspace::Workspace;

pub(crate) fn check(workspace: &Workspace) -> Result<Outcome, Failure> {
    let Some(program) = cargo_deny::find_or_install(workspace)? else {
        println!("there is no cargo-deny: `cargo install cargo-deny --locked` installs it");
        return Ok(Outcome::Skipped);
    };
    let mut deny = Command::new(program);
    deny.current_dir(&workspace.root);
    deny.args(["--locked", "check", "--hide-inclusion-graph"]);
    deny.args(["bans", "licenses", "sources"]);
    run::run("pass the checks of deny.toml", &mut deny)?;
    Ok(Outcome::Passed)
}
