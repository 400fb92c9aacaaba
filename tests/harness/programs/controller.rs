//! `scuttle-controller` as a child process, and its audit log.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

use super::process::Process;
use super::program_command;
use crate::http::Http;

/// The characters that a reader of the audit log could take for the end of a line.
const LINE_BREAKS: [char; 7] = [
    '\n', '\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}',
];

/// A `scuttle-controller` with a data directory. Dropping this value kills the process.
#[derive(Debug)]
pub struct Controller {
    process: Process,
    url: String,
    environment: Vec<(&'static str, String)>,
    data_dir: PathBuf,
}

impl Controller {
    /// Starts a controller with this environment, which contains the credentials and settings. Does
    /// not wait until the controller is ready; see
    /// [`Client::wait_until_ready`](crate::Client::wait_until_ready).
    pub fn start(
        url: &str,
        environment: Vec<(&'static str, String)>,
        data_dir: &Path,
    ) -> Result<Self> {
        Ok(Self {
            process: spawn(url, &environment, data_dir)?,
            url: url.to_owned(),
            environment,
            data_dir: data_dir.to_owned(),
        })
    }

    /// Returns a command for `scuttle-controller` without arguments. The command inherits no
    /// environment variables that the program would read.
    pub fn command() -> Command {
        program_command("scuttle-controller")
    }

    /// Kills the controller (SIGKILL) if it is running, and starts it again with the same data
    /// directory.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        let quiet = std::mem::replace(&mut self.process.quiet, true);
        self.process = spawn(&self.url, &self.environment, &self.data_dir)?;
        self.process.quiet = quiet;
        Ok(())
    }

    /// Kills the controller (SIGKILL).
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Reads the audit log and returns its lines as JSON.
    ///
    /// # Errors
    /// If the log cannot be read, a line is not one JSON object with the target `audit`, or the
    /// last line is incomplete.
    pub fn read_audit_log(&self) -> Result<Vec<Value>> {
        let path = audit_log_path(&self.data_dir);
        let text = std::fs::read_to_string(&path);
        parse_audit_log(&text.with_context(|| path.display().to_string())?)
    }

    /// Waits until the controller logs its HTTP address, and returns the endpoint.
    pub async fn http(&mut self) -> Result<Http> {
        let line = self.process.wait_for_line(Http::LOG_PREFIX).await?;
        Http::from_log(&line).context("no address in the line")
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn spawn(url: &str, environment: &[(&'static str, String)], data_dir: &Path) -> Result<Process> {
    let mut command = Controller::command();
    command
        .args(["--nats-url", url, "--data-dir"])
        .arg(data_dir)
        .arg("--audit-log")
        .arg(audit_log_path(data_dir))
        .envs(environment.iter().cloned());
    Process::spawn("the controller", command, &log_path(data_dir))
}

/// Returns the path of a controller's log file. The file is next to the data directory, not in it.
pub fn log_path(data_dir: &Path) -> PathBuf {
    data_dir.with_extension("log")
}

/// Returns the path of a controller's audit log. The file is next to the data directory, not in it.
fn audit_log_path(data_dir: &Path) -> PathBuf {
    data_dir.with_extension("audit")
}

/// Parses an audit log and returns its lines as JSON.
///
/// # Errors
/// If a line is not one JSON object with the target `audit`, or the last line is incomplete.
pub fn parse_audit_log(text: &str) -> Result<Vec<Value>> {
    ensure!(
        text.is_empty() || text.ends_with('\n'),
        "the last line is torn"
    );
    let lines = text.trim_end_matches('\n').split(LINE_BREAKS);
    let parse = |line: &str| -> Result<Value> {
        let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        ensure!(value["target"] == "audit", "{line}");
        Ok(value)
    };
    lines.filter(|_| !text.is_empty()).map(parse).collect()
}
