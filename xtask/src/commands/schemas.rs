//! `cargo xtask schemas`: writes the files in schemas/ that are generated from the Rust types.
//!
//! The generator is a test in schemas/. The same test fails if the files are stale.

use crate::run::{self, Failure};
use crate::workspace::Workspace;

pub(crate) fn run(workspace: &Workspace) -> Result<(), Failure> {
    let mut cargo = workspace.cargo();
    cargo
        .args(["test", "--locked", "-p", "scuttle-schemas"])
        .args(["--features", "generate", "--test", "generated"])
        .env("SCUTTLE_REGENERATE", "1");
    run::run("write the generated schemas", &mut cargo)
}
