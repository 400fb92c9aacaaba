//! `scuttle-bench`, which `cargo xtask bench` runs: measures Scuttle and compares it, in the same
//! run, with the limits of the message bus and the disk and with alternatives.
//!
//! The load of the machine changes every figure. The results are therefore ratios of figures that
//! were measured within seconds of each other, in several rounds. Each round measures in a
//! different order. This file only selects the measurements, which are in workloads/.

mod arguments;
mod baselines;
mod environment;
mod load;
mod report;
mod workloads;

use std::future::Future;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{Args, Command, Options};
use crate::baselines::{echo, sqlite};
use crate::environment::shared::Environment;
use crate::load::generator;
use crate::report::summary::Report;
use crate::workloads::{
    accept, backlog, cluster, docker, flood, partitions, peers, scale, teardown,
};

fn main() -> ExitCode {
    let Args { command, options } = Args::parse();
    let result = match command {
        Some(Command::Generate) => block_on(generator::serve()),
        Some(Command::Echo { url, subject }) => block_on(echo::serve(&url, subject, Ok)),
        Some(Command::ReadStore { data_dir }) => scale::store::read(&data_dir),
        command => block_on(run(command, &options)),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("scuttle-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs `work` on a runtime with a thread for each core.
fn block_on(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    tokio::runtime::Runtime::new()?.block_on(work)
}

async fn run(command: Option<Command>, options: &Options) -> Result<ExitCode> {
    let work = Box::pin(async {
        match command {
            Some(Command::Flood(arguments)) => flood::run(&arguments).await,
            Some(Command::Docker(arguments)) => docker::run(&arguments, options).await,
            Some(Command::Sqlite {
                url,
                subject,
                path,
                hosts,
                deckies,
            }) => sqlite::serve(&url, subject, &path, hosts, deckies).await,
            command => measure(command, options).await,
        }
    });
    run_until_stopped(work).await
}

/// Runs one measurement, or all default measurements if `command` is `None`.
async fn measure(command: Option<Command>, options: &Options) -> Result<ExitCode> {
    let mut environment = Environment::start(options).await?;
    let mut report = Report::new(options, &environment.server.version);
    let (environment, figures) = (&mut environment, &mut report);
    match command {
        Some(Command::Accept) => accept::run(environment, figures).await?,
        Some(Command::Peers) => peers::run(environment, figures).await?,
        Some(Command::Cluster) => cluster::run(environment, figures).await?,
        Some(Command::Teardown) => teardown::run(environment, figures).await?,
        Some(Command::Scale) => scale::run(environment, figures).await?,
        Some(Command::Backlog) => backlog::run(environment, figures).await?,
        Some(Command::Partitions) => partitions::run(environment, figures).await?,
        _ => {
            accept::run(environment, figures).await?;
            peers::run(environment, figures).await?;
            cluster::run(environment, figures).await?;
            teardown::run(environment, figures).await?;
            scale::run(environment, figures).await?;
        }
    }
    report.finish()
}

/// Runs `work`, and drops it when this process receives SIGINT or SIGTERM. Dropping `work` stops
/// every process that it started.
async fn run_until_stopped(work: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = work => result,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}
