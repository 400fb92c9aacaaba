//! `scuttle-bench`, which `cargo xtask bench` becomes: measurements beside limits, side by side in one run.
//!
//! One module per measurement: `accept`, `teardown`, `scale`, `peers`, `cluster`; and `flood` and `partitions`, which are asked for by
//! name. What they share: `stage` (one nats-server, one disk), `controllers` (those that share three servers), `swarm` (a controller and its
//! shards), `load` (who asks, in a process of its own), `samples` (rounds and their medians), `report` (what is printed). What a
//! controller is compared with: `echo`, `disk`, `jetstream`, `sqlite`. The machine's mood changes every figure; so ratios are what counts, each of figures that were taken within
//! seconds of each other, in several rounds, whose order turns.

mod accept;
mod cluster;
mod controllers;
mod cpu;
mod disk;
mod echo;
mod flood;
mod jetstream;
mod load;
mod partitions;
mod peers;
mod report;
mod samples;
mod scale;
mod server;
mod sqlite;
mod stage;
mod swarm;
mod teardown;

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::report::Report;
use crate::stage::Stage;

/// Measures Scuttle beside the limits of the bus and of the disk: everything, or what is named.
#[derive(Debug, Parser)]
#[command(name = "scuttle-bench", version)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Teardowns accepted a second, every one on disk before its answer, beside a bare echo service.
    Accept,
    /// The same beside `JetStream`, and beside the same rule over `SQLite`.
    Peers,
    /// Teardowns accepted a second by three controllers over three servers, beside raw publishes to `JetStream` there.
    Cluster,
    /// What dividing the hosts over 1, 2 and 4 journals gives: accepts a second, and what each leader spends on each message.
    Partitions,
    /// Whole teardowns a second on 1,000 simulated hosts, from the request to the broadcast of the removal.
    Teardown,
    /// A million shards on ten thousand hosts: accepts, memory, start, heartbeats, listing, checkpoints.
    Scale,
    /// How the others are served while one agent floods the controller.
    Flood(FloodArgs),
    /// Who asks: started by the others, in a process of its own.
    #[command(hide = true)]
    Generate,
    /// The echo service: started by the others, in a process of its own.
    #[command(hide = true)]
    Echo { url: String, subject: String },
    /// Reads a controller's file: started by `scale`, in a process of its own.
    #[command(hide = true)]
    ReadStore { data_dir: PathBuf },
    /// The teardown rule over `SQLite`: started by `peers`, in a process of its own.
    #[command(hide = true)]
    Sqlite {
        url: String,
        subject: String,
        path: PathBuf,
        hosts: u32,
        deckies: u32,
    },
}

/// What every measurement is told.
#[derive(Debug, Clone, clap::Args)]
struct How {
    /// How many rounds, each with all that is compared.
    #[arg(long, global = true, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How many seconds each is asked in a round. (From one second on, commands that no agent answers
    /// are sent again, which is not what is measured.)
    #[arg(long, global = true, default_value = "0.9", value_parser = seconds)]
    seconds: Duration,
    /// Print one JSON object instead of tables.
    #[arg(long, global = true)]
    json: bool,
    /// Fail when a target is missed.
    #[arg(long, global = true)]
    check: bool,
}

/// What `flood` is told.
#[derive(Debug, Clone, clap::Args)]
struct FloodArgs {
    /// How many seconds each flood lasts.
    #[arg(long = "flood-seconds", default_value = "4", value_parser = seconds)]
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

fn main() -> ExitCode {
    let Args { command, how } = Args::parse();
    let done = match command {
        Some(Command::Generate) => threaded(load::generate()),
        Some(Command::Echo { url, subject }) => threaded(echo::serve(&url, subject, Ok)),
        Some(Command::ReadStore { data_dir }) => scale::store::read(&data_dir),
        command => threaded(run(command, &how)),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("scuttle-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// On as many threads as there are cores, as async programs have by default.
fn threaded(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    tokio::runtime::Runtime::new()?.block_on(work)
}

async fn run(command: Option<Command>, how: &How) -> Result<ExitCode> {
    let work = Box::pin(async {
        match command {
            Some(Command::Flood(args)) => return flood::run(&args).await,
            Some(Command::Sqlite {
                url,
                subject,
                path,
                hosts,
                deckies,
            }) => return sqlite::serve(&url, subject, &path, hosts, deckies).await,
            _ => {}
        }
        let mut stage = Stage::set(how).await?;
        let mut report = Report::new(how, &stage);
        if matches!(command, Some(Command::Partitions)) {
            partitions::run(&mut stage, &mut report).await?;
            return report.finish();
        }
        let all = command.is_none();
        if all || matches!(command, Some(Command::Accept)) {
            accept::run(&mut stage, &mut report).await?;
        }
        if all || matches!(command, Some(Command::Peers)) {
            peers::run(&mut stage, &mut report).await?;
        }
        if all || matches!(command, Some(Command::Cluster)) {
            cluster::run(&mut stage, &mut report).await?;
        }
        if all || matches!(command, Some(Command::Teardown)) {
            teardown::run(&mut stage, &mut report).await?;
        }
        if all || matches!(command, Some(Command::Scale)) {
            scale::run(&mut stage, &mut report).await?;
        }
        report.finish()
    });
    unless_stopped(work).await
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
