//! The bus's own limit: a service that publishes back what it is sent, and does nothing else.

use std::process::ExitCode;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use scuttle_tests::programs::process::Process;
use tokio::process::Command;

use crate::load::{Pace, Targets, What};
use crate::samples::Sample;
use crate::stage::Stage;

pub(crate) const NAME: &str = "echo";

const READY: &str = "the service is ready";

/// Answers each payload with what `answer` makes of it, until it is killed. In the process that [`Own::start`] starts.
pub(crate) async fn serve(
    url: &str,
    subject: String,
    mut answer: impl FnMut(Bytes) -> Result<Bytes>,
) -> Result<ExitCode> {
    let client = async_nats::connect(url).await?;
    let mut requests = client.subscribe(subject).await?;
    client.flush().await?;
    println!("{READY}");
    while let Some(request) = requests.next().await {
        if let Some(reply) = request.reply {
            client.publish(reply, answer(request.payload)?).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A service in a process of its own, which this program is as well. Dropping it kills it.
pub(crate) struct Own {
    pub(crate) subject: String,
    process: Process,
}

impl Own {
    /// Starts `scuttle-bench NAME URL SUBJECT …`, and waits until it is ready.
    pub(crate) async fn start(stage: &Stage, name: &'static str, more: &[String]) -> Result<Self> {
        let subject = stage.client.nats().new_inbox();
        let mut command = Command::new(std::env::current_exe()?);
        command.args([name, &stage.server.url, &subject]).args(more);
        let mut process = Process::spawn(name, command, &stage.log(name))?;
        process.line(READY).await?;
        process.quiet = true;
        Ok(Self { subject, process })
    }

    pub(crate) fn id(&self) -> Result<u32> {
        self.process.id().context("the service has ended")
    }
}

/// Asks the echo service.
pub(crate) async fn ask(
    echo: &Own,
    stage: &mut Stage,
    in_flight: u16,
    round: u32,
) -> Result<Sample> {
    let pace = Pace::InFlight(in_flight);
    let order = stage.order(What::Echo, &echo.subject, Targets::any(), pace)?;
    stage
        .carry_out(order, echo.id()?, (NAME, in_flight, round))
        .await
}
