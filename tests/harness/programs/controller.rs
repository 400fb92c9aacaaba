//! The controller as a child process.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::bare;
use crate::programs::process::Process;
use crate::roles::Role;
use crate::servers::nats::Nats;

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

    /// The lines of its audit log, each checked to be one JSON object.
    ///
    /// # Errors
    /// The file cannot be read, or is not made of such lines.
    pub fn audit(&self) -> Result<Vec<Value>> {
        let path = audit_log_of(&self.dir);
        read_audit(&std::fs::read_to_string(&path).with_context(|| path.display().to_string())?)
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
        .arg("--audit-log")
        .arg(audit_log_of(dir))
        .envs(environment.iter().cloned());
    Process::spawn("the controller", command, &log_of(dir))
}

/// The log of the controller on this data directory: beside it, not in it.
pub fn log_of(dir: &Path) -> PathBuf {
    dir.with_extension("log")
}

/// The audit log of the controller on this data directory: beside it, not in it.
pub fn audit_log_of(dir: &Path) -> PathBuf {
    dir.with_extension("audit")
}

/// Reads an audit log.
///
/// # Errors
/// A line is not one JSON object of the target `audit`, or the last one has no end.
pub fn read_audit(text: &str) -> Result<Vec<Value>> {
    ensure!(text.is_empty() || text.ends_with('\n'), "a torn line");
    // Whatever some reader may take for the end of a line.
    let ends = [
        '\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}',
    ];
    let lines = text.trim_end_matches('\n').split(ends);
    let read = |line: &str| -> Result<Value> {
        let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        ensure!(value["target"] == "audit", "{line}");
        Ok(value)
    };
    lines.filter(|_| !text.is_empty()).map(read).collect()
}
