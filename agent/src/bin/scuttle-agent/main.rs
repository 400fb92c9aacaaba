//! `scuttle-agent`: reads the command line, takes the ledger, connects, and runs one host's agent over Docker until it is
//! told to stop.

mod args;

use std::hash::{BuildHasher, RandomState};
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use scuttle_agent::docker::{self, DockerRuntime};
use scuttle_agent::{Counters, DiskLedger, Link, Settings};
use scuttle_schemas::{Text, subjects};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

use args::{Args, LogFormat};

fn main() -> ExitCode {
    let args = Args::parse();
    let docker = match args.docker() {
        Ok(docker) => docker,
        Err(usage) => usage.exit(),
    };
    log_to_stderr(args.log_format);
    // What waits for the disk has threads of its own; all else is waiting.
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")
        .and_then(|runtime| runtime.block_on(run(&args, docker)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Until a signal; a teardown that is then at work goes on at the next start.
async fn run(args: &Args, docker: docker::Settings) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let told = async {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: stopping"),
            _ = interrupt.recv() => info!("SIGINT: stopping"),
        }
    };
    tokio::select! {
        ended = serve(args, docker) => ended,
        () = told => Ok(()),
    }
}

async fn serve(args: &Args, docker: docker::Settings) -> anyhow::Result<()> {
    let host = &args.host_uuid;
    let ledger = DiskLedger::open(&args.data_dir, host)?;
    // The server's permissions let a host's agent be answered there and nowhere else.
    let inbox = subjects::inbox_prefix(host);
    let link = Link::connect("scuttle-agent", &args.nats.access(), Some(&inbox)).await?;
    let settings = Settings {
        host: host.clone(),
        version: Text::from(env!("CARGO_PKG_VERSION")),
        interval_ms: args.heartbeat_ms,
        seed: RandomState::new().hash_one(host.as_str()),
    };
    let runtime = Arc::new(DockerRuntime::new(docker));
    info!(%host, "ready");
    let never = std::future::pending();
    let agent = scuttle_agent::run(
        settings,
        link,
        runtime.clone(),
        ledger,
        Arc::<Counters>::default(),
        never,
    );
    tokio::select! {
        ended = agent => Ok(ended?),
        () = runtime.watch() => Ok(()),
    }
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_env("SCUTTLE_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,async_nats=off"));
    let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(coloured)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
}
