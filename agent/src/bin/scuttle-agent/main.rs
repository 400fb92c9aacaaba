//! `scuttle-agent`: reads the command line, takes the ledger, connects, and runs one host's agent over Docker until it is
//! told to stop.

mod args;

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use scuttle_agent::docker::{self, DockerRuntime};
use scuttle_agent::{Counters, DiskLedger, Link, Settings};
use scuttle_schemas::{Text, subjects};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use args::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    let docker = match args.docker() {
        Ok(docker) => docker,
        Err(usage) => usage.exit(),
    };
    let traces = match args.telemetry.begin("scuttle-agent", "info,async_nats=off") {
        Ok(traces) => traces,
        Err(error) => {
            error!("{error}");
            return ExitCode::from(2);
        }
    };
    // What waits for the disk has threads of its own; all else is waiting.
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")
        .and_then(|runtime| runtime.block_on(run(&args, docker)));
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    };
    // The last spans leave, or are given up.
    drop(traces);
    code
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
    let inbox = subjects::agent_inbox_prefix(host);
    let link = Link::connect("scuttle-agent", &args.nats.connect_config(), Some(&inbox)).await?;
    let settings = Settings {
        host: host.clone(),
        version: Text::from(env!("CARGO_PKG_VERSION")),
        interval_ms: args.heartbeat_ms,
        seed: RandomState::new().hash_one(host.as_str()),
    };
    let runtime = Arc::new(DockerRuntime::new(host.clone(), docker));
    info!(host_uuid = %host, "ready");
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
