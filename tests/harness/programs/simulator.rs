//! `scuttle-agent-sim`, the simulator of hosts, as a child process.

use std::path::Path;

use anyhow::Result;
use tokio::process::Command;

use super::process::Process;
use super::program_path;
use crate::roles::{Passwords, Role};

/// A running simulator. Dropping this value kills the process.
#[derive(Debug)]
pub struct Simulator {
    process: Process,
}

impl Simulator {
    /// Returns a command for the simulator with the server's URL, the credentials of the agents and
    /// of an operator, and the data directory.
    pub fn command(url: &str, passwords: &Passwords, data_dir: &Path) -> Command {
        let mut command = Command::new(program_path("scuttle-agent-sim"));
        command
            .args(["--nats-url", url, "--data-dir"])
            .arg(data_dir)
            // Return large free blocks to the system at once: tests that measure memory mean the
            // memory in use.
            .env("MALLOC_MMAP_THRESHOLD_", "131072")
            .envs(passwords.environment(Role::Agents))
            .env("SCUTTLE_OPERATOR_USER", Role::Operator.user())
            .env(
                "SCUTTLE_OPERATOR_PASSWORD",
                passwords.password(Role::Operator),
            );
        command
    }

    /// Starts a prepared [`command`](Self::command) and waits until its agents are ready. The log
    /// file is next to `data_dir`.
    pub async fn start(command: Command, data_dir: &Path) -> Result<Self> {
        let log = data_dir.with_extension("log");
        let mut process = Process::spawn("the simulator", command, &log)?;
        process.wait_for_line("ready:").await?;
        Ok(Self { process })
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
