//! Starts the load generator as a process, and waits for its result on a pipe.

use std::process::Stdio;

use anyhow::{Context, Result, anyhow};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::load::outcome::LoadOutcome;
use crate::load::spec::LoadSpec;

/// A load generator in a separate process. Dropping this value kills the process.
#[derive(Debug)]
pub(crate) struct Generator {
    specs: ChildStdin,
    outcomes: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Generator {
    pub(crate) fn start() -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("generate")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start the generator")?;
        Ok(Self {
            specs: child.stdin.take().context("the generator's input")?,
            outcomes: BufReader::new(child.stdout.take().context("the generator's output")?)
                .lines(),
            _child: child,
        })
    }

    /// Makes the generator send a load, and returns the outcome.
    pub(crate) async fn run(&mut self, spec: &LoadSpec) -> Result<LoadOutcome> {
        let mut line = serde_json::to_vec(spec)?;
        line.push(b'\n');
        self.specs.write_all(&line).await?;
        let line = self.outcomes.next_line().await?;
        let line = line.context("the generator has ended")?;
        let outcome: Result<LoadOutcome, String> = serde_json::from_str(&line)?;
        outcome
            .map_err(|error| anyhow!(error))
            .with_context(|| format!("send requests to {} at {:?}", spec.subject, spec.pace))
    }
}
