//! The agent simulator as a child process.

use std::path::Path;

use anyhow::Result;

use crate::programs::process::Process;
use crate::programs::program;
use crate::roles::{Passwords, Role};
use crate::servers::nats::Nats;

/// A `scuttle-agent-sim`. Dropping it kills it.
#[derive(Debug)]
pub struct Sim {
    process: Process,
}

impl Sim {
    /// Starts the simulator with these arguments on a data directory of its own, and waits until its agents
    /// are up.
    ///
    /// # Errors
    /// There is no such program, or it does not get ready.
    pub async fn start(nats: &Nats, dir: &Path, arguments: &[&str]) -> Result<Self> {
        Self::start_with(nats, dir, arguments, &[]).await
    }

    /// The same, with this in its environment.
    ///
    /// # Errors
    /// There is no such program, or it does not get ready.
    pub async fn start_with(
        nats: &Nats,
        dir: &Path,
        arguments: &[&str],
        environment: &[(&'static str, &str)],
    ) -> Result<Self> {
        Self::start_at((&nats.url(), nats.passwords()), dir, arguments, environment).await
    }

    /// The same on any server, or servers, with these passwords.
    ///
    /// # Errors
    /// There is no such program, or it does not get ready.
    pub async fn start_at(
        (url, passwords): (&str, &Passwords),
        dir: &Path,
        arguments: &[&str],
        environment: &[(&'static str, &str)],
    ) -> Result<Self> {
        let mut command = tokio::process::Command::new(program("scuttle-agent-sim"));
        command
            .args(["--nats-url", url, "--data-dir"])
            .arg(dir)
            .args(arguments)
            // What is large and free goes back to the system at once: a test that measures memory means what is in use.
            .env("MALLOC_MMAP_THRESHOLD_", "131072")
            .envs(passwords.environment(Role::Agents))
            .envs(environment.iter().copied())
            .env("SCUTTLE_OPERATOR_USER", Role::Operator.user())
            .env("SCUTTLE_OPERATOR_PASSWORD", passwords.of(Role::Operator));
        let mut process = Process::spawn("the simulator", command, &dir.with_extension("log"))?;
        process.line("ready:").await?;
        Ok(Self { process })
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
