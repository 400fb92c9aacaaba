//! The bus's own limit: a service that publishes back what it is sent, and does nothing else.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use futures_util::StreamExt;
use scuttle_tests::process::Process;
use tokio::process::Command;

const READY: &str = "the echo service is ready";

/// Serves until it is killed. In the process that [`start`] starts.
pub(crate) async fn serve(url: &str, subject: String) -> Result<ExitCode> {
    let client = async_nats::connect(url).await?;
    let mut requests = client.subscribe(subject).await?;
    client.flush().await?;
    println!("{READY}");
    while let Some(request) = requests.next().await {
        if let Some(reply) = request.reply {
            client.publish(reply, request.payload).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts the service on `subject`, and waits until it is ready. Dropping it kills it.
pub(crate) async fn start(url: &str, subject: &str, dir: &Path) -> Result<Process> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["echo", url, subject]);
    let mut process = Process::spawn("the echo service", command, &dir.join("echo.log"))?;
    process.quiet = true;
    process.line(READY).await?;
    Ok(process)
}
