//! A child process: its log in a file, its signals, and its end with the test, come what may.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::process::{Child, Command};

use crate::wait::{until, within};

/// How many lines of a log are worth showing when a test fails.
const TAIL: usize = 60;

/// A running child process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// How long the log was when it started.
    began: usize,
    /// Keeps the log to itself when dropped; else its tail is printed, for the test runner to show when the
    /// test fails.
    pub quiet: bool,
}

impl Process {
    /// Starts `command`, which writes what it prints to `log`.
    ///
    /// # Errors
    /// The log cannot be written, or the program cannot be started.
    pub fn spawn(name: &'static str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open {}", log.display()))?;
        let began = usize::try_from(file.metadata()?.len())?;
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
            began,
            quiet: false,
        })
    }

    /// Its process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Its memory, in KiB.
    ///
    /// # Errors
    /// It runs no longer.
    pub fn memory(&self) -> Result<usize> {
        let id = self.id().context("it runs")?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let resident = |line: &str| Some(line.strip_prefix("VmRSS:")?.trim().to_owned());
        let line = status.lines().find_map(resident).context("a VmRSS")?;
        Ok(line.trim_end_matches(" kB").parse()?)
    }

    /// Sends it a signal, by its name: `TERM`, `INT`.
    ///
    /// # Errors
    /// It runs no longer.
    pub async fn signal(&self, name: &str) -> Result<()> {
        let id = self
            .id()
            .with_context(|| format!("{} has ended", self.name))?;
        // The shell's own `kill`: the standard library has no other signal than SIGKILL.
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &id.to_string()])
            .status()
            .await?;
        ensure!(sent.success(), "kill -s {name} {id}: {sent}");
        Ok(())
    }

    /// Kills it (SIGKILL) unless it has ended, and waits until it is gone.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let killed = self.child.kill().await;
        killed.with_context(|| format!("kill {}", self.name))
    }

    /// Waits until it ends by itself.
    ///
    /// # Errors
    /// It still runs.
    pub async fn exit(&mut self) -> Result<ExitStatus> {
        Ok(within(&format!("{} ends", self.name), self.child.wait()).await??)
    }

    /// All that it has printed, and before it those that had the same log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// All that it has printed itself.
    pub fn printed(&self) -> String {
        self.log().get(self.began..).unwrap_or_default().to_owned()
    }

    /// Waits until it prints a line with `text`, and returns the last such line.
    ///
    /// # Errors
    /// It ended, or printed no such line.
    pub async fn line(&mut self, text: &str) -> Result<String> {
        until(
            &format!("{} prints {text:?}", self.name),
            || {
                let ended = self.child.try_wait();
                let log = self.printed();
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

    /// An error with the log, if it runs no longer.
    ///
    /// # Errors
    /// It has ended.
    pub fn alive(&mut self) -> Result<()> {
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
            let tail = &lines[lines.len().saturating_sub(TAIL)..];
            println!("--- log of {} ---\n{}", self.name, tail.join("\n"));
        }
    }
}
