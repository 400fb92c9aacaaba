//! The folders of the workspace, and the cargo commands that run in it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::Failure;

pub(crate) struct Workspace {
    /// The folder that contains the workspace's Cargo.toml.
    pub(crate) root: PathBuf,
    /// The absolute path of cargo's build folder, which need not exist.
    pub(crate) target: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self, Failure> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .ok_or_else(|| Failure::new("xtask is not in a workspace"))?
            .to_owned();
        if !root.join("Cargo.toml").is_file() {
            return Err(Failure::new(format!(
                "the workspace is no longer at {}, where this xtask was built: run `cargo clean -p xtask`",
                root.display()
            )));
        }
        // cargo takes a relative path as relative to the current folder. The programs that xtask
        // starts have another one: the root.
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(given) if !given.is_empty() => std::path::absolute(given).map_err(|error| {
                Failure::new(format!("cannot find the folder CARGO_TARGET_DIR: {error}"))
            })?,
            _ => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// Returns a command that calls cargo in the workspace's root.
    pub(crate) fn cargo(&self) -> Command {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", &self.target);
        // `cargo run` sets these for xtask itself. Build scripts that depend on them would run
        // again.
        for (name, _) in env::vars_os() {
            let shown = name.to_string_lossy();
            if shown.starts_with("CARGO_PKG_") || shown.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command
    }
}
