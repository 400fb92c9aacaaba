//! Scuttle's programs as child processes: their paths, their start, and their end.

use std::path::{Path, PathBuf};

use tokio::process::Command;

pub mod agent;
pub mod controller;
pub mod process;
pub mod scuttle;
pub mod shutdown;
pub mod simulator;

/// The prefixes of the environment variables that Scuttle's programs read.
const VARIABLE_PREFIXES: [&str; 2] = ["SCUTTLE_", "OTEL_"];

/// Returns the root folder of the Cargo workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the path of one of Scuttle's programs. The program is in `SCUTTLE_BIN_DIR` if that
/// variable is set, and otherwise in `target/debug` of the workspace.
pub fn program_path(name: &str) -> PathBuf {
    std::env::var_os("SCUTTLE_BIN_DIR")
        .map_or_else(|| workspace().join("target/debug"), PathBuf::from)
        .join(name)
}

/// Returns a command for one of Scuttle's programs, without arguments. The command inherits no
/// environment variables that the program would read.
pub fn program_command(name: &str) -> Command {
    let mut command = Command::new(program_path(name));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if VARIABLE_PREFIXES
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    command
}
