//! `scuttle-controller`: wires the parts together, and nothing else.

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_nats::service::Service;
use scuttle_controller::audit::Audit;
use scuttle_controller::backup::{self, BackupError, Backups, Interrupt};
use scuttle_controller::config::{Command, Config, ConfigError};
use scuttle_controller::connection;
use scuttle_controller::endpoint::Endpoint;
use scuttle_controller::engine::{self, OUTBOX};
use scuttle_controller::events::Events;
use scuttle_controller::http::{self, Health};
use scuttle_controller::inbound::{self, Inbound};
use scuttle_controller::inbox::{Inbox, Limits};
use scuttle_controller::metrics::{Metrics, Queues};
use scuttle_controller::shutdown::{self, Shutdown};
use scuttle_controller::store::{RedbStore, StoreError};
use scuttle_controller::{clock, outbound, service};
use scuttle_schemas::subjects::AgentChannel;
use scuttle_telemetry::{LogFormat, log};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::{JoinSet, unconstrained};
use tracing::{error, info, warn};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The state is millions of small pieces, allocated by one thread and freed by others, which the
/// system's allocator is slow at. It is built not to ask for huge pages: on a virtual machine a fresh one took a
/// millisecond to clear, and a third of the accepts with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the last answers may take to reach the server at a shutdown.
const LAST_WORDS: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let config = match Command::load(std::env::args_os()) {
        Ok(Command::Serve(config)) => config,
        Ok(Command::Backup {
            data_dir,
            file,
            force,
        }) => return once(move |interrupt| backup::make(&data_dir, &file, force, interrupt)),
        Ok(Command::Restore { data_dir, file }) => {
            let now = clock::now();
            return once(move |interrupt| backup::restore(&data_dir, &file, now, interrupt));
        }
        Err(ConfigError::Arguments(usage)) => {
            // Help, the version, or what is wrong with the flags: clap prints it.
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(2));
        }
        Err(error) => {
            eprintln!("scuttle-controller: {error}");
            return ExitCode::from(2);
        }
    };
    let audit = match Audit::open(config.audit_log.as_deref()) {
        Ok(audit) => audit,
        Err(error) => {
            eprintln!("scuttle-controller: {error}");
            return ExitCode::from(2);
        }
    };
    write_logs(config.log_format, &audit);
    let endpoint = config.otlp_endpoint.as_ref();
    let traces = endpoint.map(|endpoint| scuttle_telemetry::export("scuttle-controller", endpoint));
    let traces = match traces.transpose() {
        Ok(traces) => traces,
        Err(error) => {
            error!("{error}");
            return ExitCode::from(2);
        }
    };
    let outcome = start_runtime().and_then(|runtime| runtime.block_on(run(&config, &audit)));
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

async fn run(config: &Config, audit: &Audit) -> anyhow::Result<()> {
    let shutdown = shutdown::listen().context("cannot listen for signals")?;
    audit
        .reopen_on_hangup()
        .context("cannot listen for signals")?;
    let health = Health::new(shutdown.clone());
    let metrics = Metrics::new(health.clone());
    if let Some(address) = config.http {
        let watched = (health.clone(), metrics.clone());
        let server = http::Server::bind(address, &config.web_nats_url, watched);
        let server = server.await.with_context(|| {
            format!("cannot listen on {address}; give --http another address, or end what has it")
        })?;
        tokio::spawn(server.run());
    }
    while !shutdown.has_begun() {
        serve(config, (audit, &metrics), &health, shutdown.clone()).await?;
    }
    let refused = metrics.tally().to_string();
    if !refused.is_empty() {
        info!("refused or ignored since the start: {refused}");
    }
    Ok(())
}

/// From the store's file to its last checkpoint: until the shutdown begins, or the NATS client ends by itself.
async fn serve(
    config: &Config,
    (audit, metrics): (&Audit, &Metrics),
    health: &Health,
    mut shutdown: Shutdown,
) -> anyhow::Result<()> {
    let (tally, vitals) = (metrics.tally(), metrics.vitals().clone());
    health.loads();
    // It may take seconds, and meanwhile others are told so.
    let data_dir = config.data_dir.clone();
    let loading = tokio::task::spawn_blocking(move || {
        let mut store = RedbStore::open(&data_dir)?;
        let state = engine::load(&mut store)?;
        Ok::<_, StoreError>((store, state))
    });
    let (mut store, state) = loading.await.context("the loading panicked")??;
    let backups = Backups::offer(&config.data_dir, store.snapshots());
    let (hosts, shards, open) = state.size();
    info!(
        "loaded {hosts} hosts, {shards} shards, {open} open operations from {}",
        config.data_dir.display()
    );

    health.connects();
    let (client, connected) = tokio::select! {
        connection = connection::connect(&config.access, tally) => connection,
        () = shutdown.begun() => {
            backups.stop().await;
            return Ok(());
        }
    };
    let (inbox, jobs) = Inbox::new(Limits::STANDARD);
    let (outbox, effects) = mpsc::channel(OUTBOX);
    metrics.queues(Queues {
        inbox: inbox.depths(),
        outbox: outbox.downgrade(),
    });
    let books = (audit.clone(), tally.clone(), Events::since(&state));
    let outbound = outbound::run(client.clone(), effects, connected.clone(), books);
    // What has been decided goes before what else could be read: a flood must not keep the answers back.
    let outbound = tokio::spawn(unconstrained(outbound));
    let engine = tokio::task::spawn_blocking(move || {
        engine::run(state, &mut store, jobs, &outbox, clock::now, &vitals)
    });
    let inbound = Inbound {
        client: client.clone(),
        connected: connected.clone(),
        inbox,
        audit: audit.clone(),
        tally: tally.clone(),
        shutdown: shutdown.clone(),
    };
    let subscribed = subscribe(inbound).await;
    match &subscribed {
        Ok(_) => {
            health.serves(connected);
            info!("ready");
        }
        Err(error) => error!("{error:#}"),
    }

    // The engine ends when the shutdown takes its senders away, when the subscriptions end, or when a
    // commit failed.
    engine.await.context("the engine panicked")??;
    backups.stop().await;
    if shutdown.has_begun() {
        info!("stopped: everything is on disk");
    } else {
        // It does so on a message that it cannot read.
        error!("the NATS client has ended by itself: everything is on disk; starting again");
    }
    let last_words = async {
        let _ = outbound.await;
        if let Ok((service, tasks)) = subscribed {
            // No more requests from here on; those that have come are answered, with `shutting_down`.
            let _ = service.stop().await;
            tasks.join_all().await;
        }
        client.flush().await
    };
    if tokio::time::timeout(LAST_WORDS, last_words).await.is_err() {
        warn!("the last answers could not be sent: the NATS server is away");
    }
    Ok(())
}

/// Does something once, and says what: until it is done, or the operator does not want it any more.
fn once<D: Display + Send + 'static>(
    work: impl FnOnce(&Interrupt) -> Result<D, BackupError> + Send + 'static,
) -> ExitCode {
    let interrupt = Arc::new(Interrupt::default());
    let interrupted = Arc::clone(&interrupt);
    let outcome = start_runtime().and_then(|runtime| {
        runtime.block_on(async {
            let mut shutdown = shutdown::listen().context("cannot listen for signals")?;
            let mut work = tokio::task::spawn_blocking(move || work(&interrupted));
            let done = tokio::select! {
                done = &mut work => done,
                () = shutdown.begun() => {
                    interrupt.set();
                    work.await
                }
            };
            Ok(done.context("it panicked")??)
        })
    });
    match outcome {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("scuttle-controller: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One thread for all that is async: reading, writing and encoding are a third of the work, the engine's two
/// threads do the rest, and with fewer threads more is done in one go.
fn start_runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")
}

/// Subscribes every subject; each has a task that holds a sender of the inbox until the shutdown.
async fn subscribe(inbound: Inbound) -> anyhow::Result<(Service, JoinSet<()>)> {
    let client = &inbound.client;
    let mut tasks = JoinSet::new();
    let progress = client.subscribe(AgentChannel::Progress.of_all()).await?;
    // Each looks at all that waits for it before another runs, as many messages as came in one go: else those that are read
    // meanwhile would be more than a subscription holds.
    tasks.spawn(unconstrained(inbound::progress(progress, inbound.clone())));
    let failed = |error: async_nats::Error| anyhow::anyhow!("cannot start the service: {error}");
    let service = service::start(client, &inbound.tally)
        .await
        .map_err(failed)?;
    for endpoint in Endpoint::ALL {
        let builder = service.endpoint_builder().name(endpoint.name());
        let requests = builder.add(endpoint.subject()).await.map_err(failed)?;
        tasks.spawn(unconstrained(inbound::serve(
            endpoint,
            requests,
            inbound.clone(),
        )));
    }
    Ok((service, tasks))
}

/// The log on standard error, and the audit log where it belongs.
fn write_logs(format: LogFormat, audit: &Audit) {
    let filter = Audit::left_out_of(log::filter("info,async_nats=error"));
    tracing_subscriber::registry()
        .with(log::to_stderr(format).with_filter(filter))
        .with(audit.layer())
        .init();
}
