//! `scuttle-agent-sim`: parses its options, connects to NATS, enrolls the hosts if `--enroll` is
//! given, and runs their agents until a signal arrives.

use std::process::ExitCode;

use anyhow::{Result, anyhow};
use scuttle_agent::Connection;
use scuttle_agent_sim::args::Args;
use scuttle_agent_sim::{enroll, fleet};
use scuttle_schemas::escape_hidden;
use scuttle_telemetry::InstalledLog;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The allocator of this program. The system's allocator is slow when thousands of agents allocate
/// memory on a few threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Args = scuttle_settings::parse_or_exit();
    let log = args.telemetry.install_log("warn,async_nats=off");
    let traces = args.telemetry.install_traces("scuttle-agent");
    let outcome = match &traces {
        Ok(_) => Box::pin(run_until_signal(args, &log)).await,
        Err(error) => Err(anyhow!("{error}")),
    };
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "scuttle-agent-sim: {}",
                escape_hidden(&format!("{error:#}"))
            );
            ExitCode::FAILURE
        }
    };
    // Sends the last spans, or gives up on them after a timeout.
    drop(traces);
    code
}

/// Runs the simulation. The first SIGINT or SIGTERM shuts the simulation down, and the second ends
/// it immediately.
async fn run_until_signal(args: Args, log: &InstalledLog) -> Result<()> {
    let shutdown = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut wait_for_signal = async || {
        loop {
            tokio::select! {
                _ = interrupt.recv() => return,
                _ = terminate.recv() => return,
                _ = hangup.recv() => reload(log),
            }
        }
    };
    let simulation = simulate(args, shutdown.clone());
    tokio::pin!(simulation);
    tokio::select! {
        done = &mut simulation => return done,
        () = wait_for_signal() => shutdown.cancel(),
    };
    tokio::select! {
        done = &mut simulation => done,
        () = wait_for_signal() => Ok(()),
    }
}

/// Reads the log filter again.
fn reload(log: &InstalledLog) {
    match scuttle_settings::parse::<Args>() {
        Ok(args) => log.reload(args.telemetry.log.as_ref()),
        Err(error) => warn!("SIGHUP: {error}; the log filter stays as it was"),
    }
}

async fn simulate(args: Args, shutdown: CancellationToken) -> Result<()> {
    fleet::create_data_dir(args.data_dir.as_deref())?;
    let agents = fleet::build_agents(&args)?;
    let connecting = shutdown.run_until_cancelled(connect(&args)).await;
    let Some(connection) = connecting else {
        return Ok(());
    };
    fleet::run(&agents, &connection?, shutdown).await
}

/// Connects to NATS, and enrolls the hosts if `--enroll` is given.
async fn connect(args: &Args) -> Result<Connection> {
    let connection = Connection::connect("scuttle-agent-sim", &args.connect_config(), None).await?;
    scuttle_nats::check_max_payload(connection.client().max_payload())?;
    if args.enroll {
        let config = args.operator_connect_config()?;
        let inbox = config.credentials.inbox_prefix();
        let name = "scuttle-agent-sim, enrolling";
        let operator = Connection::connect(name, &config, inbox.as_deref()).await?;
        enroll::enroll_hosts(operator.client(), &fleet::host_ids(args)).await?;
    }
    Ok(connection)
}
