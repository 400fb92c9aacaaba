//! A child process: its log file, its signals and its exit. Dropping a process kills it, so it does
//! not outlive its test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::process::{Child, Command};

use crate::wait::{wait_until, with_timeout};

/// The maximum number of log lines that are printed when a process is dropped.
const TAIL_LINES: usize = 60;

/// A child process. Dropping this value kills the process.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// The length of the log in bytes when this process started. Earlier processes may have written
    /// to the same log.
    log_start: usize,
    /// Whether to print nothing on drop. By default, dropping this value prints the last lines of
    /// the log, which the test runner shows when the test fails.
    pub quiet: bool,
}

impl Process {
    /// Starts `command` and appends its output to the file `log`.
    pub fn spawn(name: &'static str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open {}", log.display()))?;
        let log_start = usize::try_from(file.metadata()?.len())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {}", command.as_std().get_program().display()))?;
        Ok(Self {
            name,
            child,
            log: log.to_owned(),
            log_start,
            quiet: false,
        })
    }

    /// Returns the process id, or `None` after its exit has been observed.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns the resident memory of the process in KiB.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn resident_kib(&self) -> Result<usize> {
        let id = self.id().context("the process has ended")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let resident = |line: &str| Some(line.strip_prefix("VmRSS:")?.trim().to_owned());
        let line = status.lines().find_map(resident).context("no VmRSS")?;
        Ok(line.trim_end_matches(" kB").parse()?)
    }

    /// Sends a signal. The signal's name has no `SIG` prefix: `TERM`, `INT`.
    ///
    /// # Errors
    /// If the process has ended.
    pub async fn send_signal(&self, signal: &str) -> Result<()> {
        let id = self
            .id()
            .with_context(|| format!("{} has ended", self.name))?;
        // The standard library can send SIGKILL only, so this uses the shell's `kill`.
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal, &id.to_string()])
            .status()
            .await?;
        ensure!(sent.success(), "kill -s {signal} {id}: {sent}");
        Ok(())
    }

    /// Kills the process (SIGKILL) unless it has exited, and waits for it to exit.
    pub async fn kill(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let killed = self.child.kill().await;
        killed.with_context(|| format!("kill {}", self.name))
    }

    /// Waits until the process ends, without stopping it, and returns the exit status.
    pub async fn wait_for_exit(&mut self) -> Result<ExitStatus> {
        Ok(with_timeout(&format!("{} ends", self.name), self.child.wait()).await??)
    }

    /// Returns the whole log, including the lines of earlier processes with the same log file. The
    /// result is empty if the log cannot be read.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Returns the part of the log that this process has written.
    pub fn own_log(&self) -> String {
        self.log()
            .get(self.log_start..)
            .unwrap_or_default()
            .to_owned()
    }

    /// Waits until this process has logged a line that contains `text`. Returns the last line that
    /// contains `text`.
    ///
    /// # Errors
    /// If the process ends without logging such a line, or the line does not appear in time.
    pub async fn wait_for_line(&mut self, text: &str) -> Result<String> {
        wait_until(
            &format!("{} logs {text:?}", self.name),
            || {
                let ended = self.child.try_wait();
                let log = self.own_log();
                async move {
                    match log.lines().rfind(|line| line.contains(text)) {
                        Some(line) => Ok(Ok(line.to_owned())),
                        None => match ended {
                            Ok(Some(status)) => Ok(Err(format!("{status}\n{log}"))),
                            _ => Err("no such line yet"),
                        },
                    }
                }
            },
            |_| true,
        )
        .await?
        .map_err(|end| anyhow!("{} ended: {end}", self.name))
    }

    /// Checks that the process has not ended.
    ///
    /// # Errors
    /// If the process has ended. The error contains the log.
    pub fn ensure_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended: {status}\n{}", self.name, self.log()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.start_kill().is_ok() {
            while let Ok(None) = self.child.try_wait() {
                std::thread::yield_now();
            }
        }
        if !self.quiet {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            println!("--- log of {} ---\n{}", self.name, tail.join("\n"));
        }
    }
}
