//! Scuttle's programs as child processes: where they are, how they are started, and how they end.

use std::path::{Path, PathBuf};

use tokio::process::Command;

pub mod controller;
pub mod process;
pub mod simulator;
pub mod stop;

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A program of Scuttle: in `SCUTTLE_BIN_DIR`, else in the workspace's `target/debug`.
pub fn program(name: &str) -> PathBuf {
    std::env::var_os("SCUTTLE_BIN_DIR")
        .map_or_else(|| workspace().join("target/debug"), PathBuf::from)
        .join(name)
}

/// A program of Scuttle, without any argument or variable that it knows.
pub fn bare(name: &str) -> Command {
    let mut command = Command::new(program(name));
    for (name, _) in std::env::vars_os() {
        let known = ["SCUTTLE_", "OTEL_"];
        if known
            .iter()
            .any(|prefix| name.to_string_lossy().starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    command
}
