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
use scuttle_agent::runtime::docker::docker_runtime::DockerRuntime;
use scuttle_agent::runtime::docker::settings::DockerSettings;
use scuttle_agent::{AgentParts, Connection, Counters, DiskLedger, Settings};
use scuttle_nats::Credentials;
use scuttle_schemas::{HostId, Text, subjects};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use args::Args;

fn main() -> ExitCode {
    let args: Args = scuttle_settings::parse_or_exit();
    let (docker, evidence) = match (args.docker_settings(), args.evidence_settings()) {
        (Ok(docker), Ok(evidence)) => (docker, evidence),
        (Err(usage), _) | (_, Err(usage)) => usage.exit(),
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
        .and_then(|runtime| runtime.block_on(run_until_signal(&args, docker, evidence)));
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

/// Runs the agent until SIGTERM or SIGINT. The next start resumes the teardowns that the signal
/// interrupted.
async fn run_until_signal(
    args: &Args,
    docker: DockerSettings,
    evidence: Option<EvidenceSettings>,
) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let signalled = async {
        tokio::select! {
            _ = terminate.recv() => info!("SIGTERM: stopping"),
            _ = interrupt.recv() => info!("SIGINT: stopping"),
        }
    };
    tokio::select! {
        ended = run(args, docker, evidence) => ended,
        () = signalled => Ok(()),
    }
}

/// Logs an error if the credentials file is that of another host. The server would deny everything
/// that the agent does.
fn report_foreign_credentials(host: &HostId, credentials: &Credentials) {
    if let Credentials::File(path) = credentials
        && let Some(user) = credentials.user()
        && user != host.as_str()
    {
        let path = path.display();
        error!(host_uuid = %host, "the credentials in {path} are those of {user}, not of this host; correct --host-uuid or --nats-creds");
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
    report_foreign_credentials(host, &config.credentials);
    let connection = Connection::connect("scuttle-agent", &config, Some(&inbox)).await?;
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
