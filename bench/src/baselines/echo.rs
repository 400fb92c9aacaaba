//! The limit of the message bus: a service that only sends each payload back.

use std::process::ExitCode;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::StreamExt;
use scuttle_tests::programs::process::Process;
use tokio::process::Command;

use crate::environment::shared::Environment;
use crate::load::spec::{Pace, RequestKind, Targets};
use crate::report::samples::{Sample, Series};

pub(crate) const NAME: &str = "echo";

const READY: &str = "the service is ready";

/// Replies to each payload with the result of `reply`, until the process is killed.
/// [`ServiceProcess::start`] starts the process.
pub(crate) async fn serve(
    url: &str,
    subject: String,
    mut reply: impl FnMut(Bytes) -> Result<Bytes>,
) -> Result<ExitCode> {
    let client = async_nats::connect(url).await?;
    let mut requests = client.subscribe(subject).await?;
    client.flush().await?;
    println!("{READY}");
    while let Some(request) = requests.next().await {
        if let Some(inbox) = request.reply {
            client.publish(inbox, reply(request.payload)?).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A service that this program runs in a separate process. Dropping it kills the process.
pub(crate) struct ServiceProcess {
    pub(crate) subject: String,
    process: Process,
}

impl ServiceProcess {
    /// Starts `scuttle-bench NAME URL SUBJECT ARGUMENTS`, and waits until the service is ready.
    pub(crate) async fn start(
        environment: &Environment,
        name: &'static str,
        arguments: &[String],
    ) -> Result<Self> {
        let subject = environment.client.nats().new_inbox();
        let mut command = Command::new(std::env::current_exe()?);
        command.args([name, &environment.server.url, &subject]);
        command.args(arguments);
        let mut process = Process::spawn(name, command, &environment.log(name))?;
        process.wait_for_line(READY).await?;
        process.quiet = true;
        Ok(Self { subject, process })
    }

    pub(crate) fn id(&self) -> Result<u32> {
        self.process.id().context("the service has ended")
    }
}

pub(crate) async fn measure(
    service: &ServiceProcess,
    environment: &mut Environment,
    in_flight: u16,
    round: u32,
) -> Result<Sample> {
    let load = environment.load(
        RequestKind::Echo,
        &service.subject,
        Targets::arbitrary(),
        Pace::InFlight(in_flight),
    )?;
    let series = Series::new(NAME, in_flight);
    environment.run(load, service.id()?, series, round).await
}
