//! `scuttle-agent`: parses its options, opens the ledger, connects to NATS, and runs the agent of
//! one host with Docker until a signal stops it.

mod args;

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use scuttle_agent::runtime::docker::docker_runtime::DockerRuntime;
use scuttle_agent::runtime::docker::settings::DockerSettings;
use scuttle_agent::{AgentParts, Connection, Counters, DiskLedger, Settings};
use scuttle_schemas::{Text, subjects};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use args::Args;

fn main() -> ExitCode {
    let args: Args = scuttle_settings::parse_or_exit();
    let docker = match args.docker_settings() {
        Ok(docker) => docker,
        Err(usage) => usage.exit(),
    };
    let traces = match args
        .telemetry
        .install("scuttle-agent", "info,async_nats=off")
    {
        Ok(traces) => traces,
        Err(error) => {
            error!("{error}");
            return ExitCode::from(2);
        }
    };
    // One thread is enough: disk accesses run on tokio's threads for blocking work, and everything
    // else mostly waits.
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")
        .and_then(|runtime| runtime.block_on(run_until_signal(&args, docker)));
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    };
    // Sends the last spans, or gives up on them after a timeout.
    drop(traces);
    code
}

/// Runs the agent until SIGTERM or SIGINT. The next start resumes a teardown that the signal
/// interrupted.
async fn run_until_signal(args: &Args, docker: DockerSettings) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let signalled = async {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: stopping"),
            _ = interrupt.recv() => info!("SIGINT: stopping"),
        }
    };
    tokio::select! {
        ended = run(args, docker) => ended,
        () = signalled => Ok(()),
    }
}

async fn run(args: &Args, docker: DockerSettings) -> anyhow::Result<()> {
    let host = &args.host_uuid;
    let ledger = DiskLedger::open(&args.data_dir, host)?;
    // The permissions of the agent's user allow reply subjects with this prefix only.
    let inbox = subjects::agent_inbox_prefix(host);
    let config = args.nats.connect_config();
    let connection = Connection::connect("scuttle-agent", &config, Some(&inbox)).await?;
    let runtime = Arc::new(DockerRuntime::new(host.clone(), docker));
    let parts = AgentParts {
        settings: Settings {
            host: host.clone(),
            version: Text::from(env!("CARGO_PKG_VERSION")),
            interval_ms: args.heartbeat_ms,
            seed: RandomState::new().hash_one(host.as_str()),
        },
        connection,
        runtime: runtime.clone(),
        ledger,
        counters: Arc::<Counters>::default(),
    };
    info!(host_uuid = %host, "ready");
    tokio::select! {
        ended = scuttle_agent::run(parts, CancellationToken::new()) => Ok(ended?),
        () = runtime.watch() => Ok(()),
    }
}
