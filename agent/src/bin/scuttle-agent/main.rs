//! `scuttle-agent`: parses its options, opens the ledger, connects to NATS, and runs the agent of
//! one host with Docker until a signal stops it.

mod args;
mod evidence_args;

use std::hash::{BuildHasher, RandomState};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use scuttle_agent::evidence::settings::EvidenceSettings;
use scuttle_agent::evidence::store::EvidenceStore;
use scuttle_agent::nats::permission_check::{PermissionDenied, check_permissions};
use scuttle_agent::runtime::docker::docker_runtime::DockerRuntime;
use scuttle_agent::runtime::docker::settings::DockerSettings;
use scuttle_agent::{AgentParts, Connection, Counters, DiskLedger, Settings};
use scuttle_schemas::{Text, subjects};
use scuttle_telemetry::InstalledLog;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use args::Args;

fn main() -> ExitCode {
    let args: Args = scuttle_settings::parse_or_exit();
    let (docker, evidence) = match (args.docker_settings(), args.evidence_settings()) {
        (Ok(docker), Ok(evidence)) => (docker, evidence),
        (Err(usage), _) | (_, Err(usage)) => usage.exit(),
    };
    let log = args.telemetry.install_log("info,async_nats=off");
    let traces = match args.telemetry.install_traces("scuttle-agent") {
        Ok(traces) => traces,
        Err(error) => {
            error!("{error}");
            return ExitCode::from(2);
        }
    };
    // No retry fixes an invalid configuration.
    if let Err(error) = args.nats.connect_config().connect_options() {
        error!("{error}");
        return ExitCode::from(2);
    }
    // One thread is enough: disk accesses run on tokio's threads for blocking work, and everything
    // else mostly waits.
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")
        .and_then(|runtime| runtime.block_on(run_until_signal(&args, docker, evidence, &log)));
    let code = match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            if error.is::<PermissionDenied>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    };
    // Sends the last spans, or gives up on them after a timeout.
    drop(traces);
    code
}

/// Runs the agent until SIGTERM or SIGINT. The next start resumes the teardowns that the signal
/// interrupted.
async fn run_until_signal(
    args: &Args,
    docker: DockerSettings,
    evidence: Option<EvidenceSettings>,
    log: &InstalledLog,
) -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let signalled = async {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: stopping"),
            _ = interrupt.recv() => info!("SIGINT: stopping"),
        }
    };
    let reloads = async {
        while hangup.recv().await.is_some() {
            reload(args, log);
        }
    };
    tokio::select! {
        ended = run(args, docker, evidence) => ended,
        () = signalled => Ok(()),
        () = reloads => Ok(()),
    }
}

/// Reads the log filter and the credentials again. A connection that is up keeps its credentials.
fn reload(args: &Args, log: &InstalledLog) {
    match scuttle_settings::parse::<Args>() {
        Ok(args) => log.reload(args.telemetry.log.as_ref()),
        Err(error) => warn!("SIGHUP: {error}; the log filter stays as it was"),
    }
    match args.nats.connect_config().credentials.check_file() {
        Ok(Some(path)) => info!("SIGHUP: the next connection uses {}", path.display()),
        Ok(None) => {}
        Err(error) => warn!("SIGHUP: {error}; the next connection uses the old credentials"),
    }
}

async fn run(
    args: &Args,
    docker: DockerSettings,
    evidence: Option<EvidenceSettings>,
) -> anyhow::Result<()> {
    let host = &args.host_uuid;
    let ledger = DiskLedger::open(&args.data_dir, host)?;
    let evidence = evidence.map(|settings| EvidenceStore::open(settings, host));
    let evidence = evidence.transpose()?.map(Arc::new);
    // The permissions of the agent's user allow reply subjects with this prefix only.
    let inbox = subjects::agent_inbox_prefix(host);
    let config = args.nats.connect_config();
    let connection = Connection::connect("scuttle-agent", &config, Some(&inbox)).await?;
    check_permissions(&config, host).await?;
    scuttle_nats::check_max_payload(connection.client().max_payload())?;
    let runtime = DockerRuntime::new(host.clone(), docker, &args.data_dir, evidence);
    let runtime = Arc::new(runtime);
    let parts = AgentParts {
        settings: Settings {
            host: host.clone(),
            version: Text::from(env!("CARGO_PKG_VERSION")),
            interval_ms: args.heartbeat_ms,
            seed: RandomState::new().hash_one(host.as_str()),
            concurrency: args.concurrency.into(),
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
