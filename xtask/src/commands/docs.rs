//! `cargo xtask docs`: regenerates docs/cli.md, mostly from the `--help` texts of `scuttle`, and
//! cli/schemas/ from the types of its JSON output.
//!
//! The generator is a test in cli/. The same test fails if the files are stale.

use crate::run::{self, Failure};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let mut cargo = workspace.cargo();
    cargo
        .args(["test", "--locked", "-p", "scuttle-cli", "--all-features"])
        .arg("the_checked_in_documents_match_the_command")
        .env("SCUTTLE_REGENERATE", "1");
    run::run("write the documents of the command", &mut cargo)
}
