//! The side that orders: starts the generator, and waits at a pipe while it works.

use std::process::Stdio;

use anyhow::{Context, Result, anyhow};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{Load, Order};

/// A generator's process. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Generator {
    orders: ChildStdin,
    loads: Lines<BufReader<ChildStdout>>,
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
            orders: child.stdin.take().context("its input")?,
            loads: BufReader::new(child.stdout.take().context("its output")?).lines(),
            _child: child,
        })
    }

    /// Has an order carried out.
    pub(crate) async fn carry_out(&mut self, order: &Order) -> Result<Load> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.orders.write_all(&line).await?;
        let line = self.loads.next_line().await?;
        let line = line.context("the generator has ended")?;
        let load: Result<Load, String> = serde_json::from_str(&line)?;
        load.map_err(|error| anyhow!(error))
            .with_context(|| format!("ask {} for {:?}", order.subject, order.pace))
    }
}
