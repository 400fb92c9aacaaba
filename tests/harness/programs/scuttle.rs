//! Runs the `scuttle` command to completion and returns its output.

use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::program_command;
use crate::wait::with_timeout;

/// The exit code and the output of a `scuttle` command that has ended.
#[derive(Debug)]
pub struct CommandOutput {
    pub code: i32,
    /// The standard output without trailing white space.
    pub stdout: String,
    pub stderr: String,
}

impl CommandOutput {
    /// Returns the standard output.
    ///
    /// # Errors
    /// If the command failed.
    pub fn expect_success(self) -> Result<String> {
        ensure!(self.code == 0, "{self:?}");
        Ok(self.stdout)
    }

    /// Checks that the command failed with this exit code, printed all of `texts` to standard
    /// error, and printed nothing to standard output.
    pub fn expect_failure(self, code: i32, texts: &[&str]) -> Result<()> {
        ensure!(self.code == code, "expected exit code {code}: {self:?}");
        let has_all = texts.iter().all(|text| self.stderr.contains(text));
        ensure!(
            has_all && self.stdout.is_empty(),
            "expected {texts:?}: {self:?}"
        );
        Ok(())
    }
}

/// Runs `scuttle` to completion in `folder`, with the bus directory `folder/bus`.
pub async fn run_scuttle(
    folder: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<CommandOutput> {
    let mut command = program_command("scuttle");
    command
        .args(arguments)
        .current_dir(folder)
        .env("SCUTTLE_BUS_DIR", "bus")
        .envs(environment.iter().copied());
    run_to_end(command, arguments).await
}

/// Runs a prepared `scuttle` command to completion. The standard input is `/dev/null`, so the
/// command cannot prompt. `arguments` is used only in error messages.
pub async fn run_to_end(mut command: Command, arguments: &[&str]) -> Result<CommandOutput> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let event = format!("scuttle {arguments:?} ends");
    let output = with_timeout(&event, command.output()).await?;
    let Output {
        status,
        stdout,
        stderr,
    } = output.with_context(|| format!("start scuttle {arguments:?}"))?;
    Ok(CommandOutput {
        code: status.code().context("scuttle was killed")?,
        stdout: String::from_utf8(stdout)?.trim_end().to_owned(),
        stderr: String::from_utf8(stderr)?,
    })
}
