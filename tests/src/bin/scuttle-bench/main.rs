//! `scuttle-bench`, which `cargo xtask bench` becomes: measurements against limits, side by side in one run.
//!
//! One module per part: `flood`; and for `accept`: `accept` (the rounds), `swarm` (the controller and its shards), `server`, `echo`, `disk`
//! (what it is compared with), `load` (who asks), `report` (what is printed). The machine's mood changes every figure; so
//! ratios are what counts, and the figures of one round are taken within seconds of each other.

mod accept;
mod disk;
mod echo;
mod flood;
mod load;
mod report;
mod server;
mod swarm;

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// Measures Scuttle beside the limits of the bus and of the disk.
#[derive(Debug, Parser)]
#[command(name = "scuttle-bench", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Teardowns accepted a second, every one on disk before its answer, beside a bare echo service.
    Accept(AcceptArgs),
    /// How the others are served while one agent floods the controller.
    Flood(FloodArgs),
    /// The echo service: started by `accept`, in a process of its own.
    #[command(hide = true)]
    Echo { url: String, subject: String },
}

/// What `accept` is told.
#[derive(Debug, Clone, clap::Args)]
struct AcceptArgs {
    /// How many rounds, each with both services.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How many seconds each service is asked in a round. (From one second on, commands that no agent answers
    /// are sent again, which is not what is measured.)
    #[arg(long, default_value = "0.9", value_parser = seconds)]
    seconds: Duration,
    /// How many requests wait for their answer at any time.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4096))]
    in_flight: u16,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
    /// Fail when the median ratio is below the target.
    #[arg(long)]
    check: bool,
}

/// What `flood` is told.
#[derive(Debug, Clone, clap::Args)]
struct FloodArgs {
    /// How many seconds each flood lasts.
    #[arg(long, default_value = "4", value_parser = seconds)]
    seconds: Duration,
    /// Over how many connections the agent floods.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    connections: u8,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=60.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("it must be a number from 0.1 to 60".to_owned()),
    }
}

// The runtime that async-nats programs, the controller among them, have by default.
#[tokio::main]
async fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Accept(args) => Box::pin(unless_stopped(accept::run(&args))).await,
        Command::Flood(args) => Box::pin(unless_stopped(flood::run(&args))).await,
        Command::Echo { url, subject } => echo::serve(&url, subject).await,
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("scuttle-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ctrl-C drops the measurement, and with it all that it started.
async fn unless_stopped(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = work => done,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
