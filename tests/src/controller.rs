//! The controller as a child process.

use std::path::{Path, PathBuf};

use anyhow::Result;
use tokio::process::Command;

use crate::nats::{Nats, Role, program};
use crate::process::Process;

/// A `scuttle-controller` on a data directory. Dropping it kills it.
#[derive(Debug)]
pub struct Controller {
    process: Process,
    url: String,
    environment: Vec<(&'static str, String)>,
    dir: PathBuf,
}

impl Controller {
    /// Starts a controller; it need not be ready yet, see [`crate::Client::answered`].
    ///
    /// # Errors
    /// There is no such program.
    pub fn start(nats: &Nats, dir: &Path) -> Result<Self> {
        let environment = nats.environment(Role::Controller).into();
        Self::start_at(&nats.url(), environment, dir)
    }

    /// Starts a controller with this environment, which says who it is and whom it trusts.
    ///
    /// # Errors
    /// There is no such program.
    pub fn start_at(
        url: &str,
        environment: Vec<(&'static str, String)>,
        dir: &Path,
    ) -> Result<Self> {
        Ok(Self {
            process: launch(url, &environment, dir)?,
            url: url.to_owned(),
            environment,
            dir: dir.to_owned(),
        })
    }

    /// The program, without any argument or `SCUTTLE_` variable, for tests of its configuration.
    pub fn command() -> Command {
        bare("scuttle-controller")
    }

    /// Starts it again on the same data directory; the one that runs is killed (SIGKILL).
    ///
    /// # Errors
    /// It cannot be killed or started.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        let quiet = std::mem::replace(&mut self.process.quiet, true);
        self.process = launch(&self.url, &self.environment, &self.dir)?;
        self.process.quiet = quiet;
        Ok(())
    }

    /// Kills it (SIGKILL).
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn launch(url: &str, environment: &[(&'static str, String)], dir: &Path) -> Result<Process> {
    let mut command = Controller::command();
    command
        .args(["--nats-url", url, "--data-dir"])
        .arg(dir)
        .envs(environment.iter().cloned());
    Process::spawn("the controller", command, &log_of(dir))
}

/// A program of Scuttle, without any argument or `SCUTTLE_` variable.
pub fn bare(name: &str) -> Command {
    let mut command = Command::new(program(name));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SCUTTLE_") {
            command.env_remove(name);
        }
    }
    command
}

/// The log of the controller on this data directory: beside it, not in it.
pub fn log_of(dir: &Path) -> PathBuf {
    dir.with_extension("log")
}
