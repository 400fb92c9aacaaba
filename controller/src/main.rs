//! `scuttle-controller`: wires the parts together, and nothing else.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use async_nats::Client;
use scuttle_controller::clock;
use scuttle_controller::config::{Command, Config, ConfigError, Journal};
use scuttle_controller::engine;
use scuttle_controller::http;
use scuttle_controller::leadership::candidate::{Candidate, LEASE_TTL};
use scuttle_controller::leadership::leader::LeaderContext;
use scuttle_controller::leadership::lease::LeaseGuard;
use scuttle_controller::leadership::rebalance::Rebalancer;
use scuttle_controller::leadership::term::{self, Shutdown, Term};
use scuttle_controller::nats::connection;
use scuttle_controller::nats::durability_check;
use scuttle_controller::observability::audit::Audit;
use scuttle_controller::observability::health::Health;
use scuttle_controller::observability::metrics::Metrics;
use scuttle_controller::ops::backup::{self, BackupServer, Interrupt};
use scuttle_controller::partition::assignment::PartitionAssignment;
use scuttle_controller::store::{JournalStream, RedbStore, StoreError};
use scuttle_schemas::PartitionCount;
use scuttle_telemetry::{LogFormat, log};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tracing::{Instrument, error, info, info_span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The state is millions of small pieces, allocated by one thread and freed by others, which the
/// system's allocator is slow at. It is built not to ask for huge pages: on a virtual machine a fresh one took a
/// millisecond to clear, and a third of the accepts with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let config = match Command::load(std::env::args_os()) {
        Ok(Command::Serve(config)) => Arc::new(*config),
        Ok(Command::Backup {
            data_dir,
            file,
            force,
        }) => return once(move |interrupt| backup::create(&data_dir, &file, force, interrupt)),
        Ok(Command::Restore { data_dir, file }) => {
            let now = clock::now();
            return once(move |interrupt| backup::restore(&data_dir, &file, now, interrupt));
        }
        Ok(Command::Migrate(migration)) => return once(move |_| migration.run()),
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

async fn run(config: &Arc<Config>, audit: &Audit) -> anyhow::Result<()> {
    let shutdown = term::listen().context("cannot listen for signals")?;
    audit
        .reopen_on_hangup()
        .context("cannot listen for signals")?;
    let partitions = match config.journal {
        Journal::Own => PartitionCount::ONE,
        Journal::Shared { partitions, .. } => partitions,
    };
    let health = Health::new(shutdown.clone(), partitions);
    let metrics = Metrics::new(health.clone(), partitions);
    if let Some(address) = config.http {
        let watched = (health.clone(), metrics.clone());
        let server = http::Server::bind(address, &config.web_nats_url, watched);
        let server = server.await.with_context(|| {
            format!("cannot listen on {address}; give --http another address, or end what has it")
        })?;
        tokio::spawn(server.run());
    }
    let served = Served {
        config: config.clone(),
        audit: audit.clone(),
        metrics: metrics.clone(),
        health,
        shutdown,
    };
    match config.journal {
        Journal::Own => {
            while !served.shutdown.has_begun() {
                Box::pin(served.alone()).await?;
            }
        }
        Journal::Shared {
            replicas,
            partitions,
        } => Box::pin(served.with_others(replicas, partitions)).await?,
    }
    let refused = metrics.counters().to_string();
    if !refused.is_empty() {
        info!("refused or ignored since the start: {refused}");
    }
    Ok(())
}

/// What serving takes.
#[derive(Clone)]
struct Served {
    config: Arc<Config>,
    audit: Audit,
    metrics: Metrics,
    health: Health,
    shutdown: Shutdown,
}

impl Served {
    /// One of several controllers, until the shutdown begins.
    async fn with_others(self, replicas: usize, of: PartitionCount) -> anyhow::Result<()> {
        self.health.set_connecting();
        let counters = self.metrics.counters();
        let mut shutdown = self.shutdown.clone();
        let (beside, _) = tokio::select! {
            connection = connection::connect(&self.config.access, counters) => connection,
            () = shutdown.begun() => return Ok(()),
        };
        let looking = beside.clone();
        tokio::spawn(async move { durability_check::look(&looking, &mut BTreeSet::new()).await });
        let balance = Rebalancer::new(of, LEASE_TTL);
        if of == PartitionCount::ONE {
            let whole = self.partition(PartitionAssignment::WHOLE, replicas, beside, balance);
            return whole.await;
        }
        // Each partition has a thread and a connection of its own, and nothing in common with the others but who leads how many.
        let mut partitions = JoinSet::new();
        for partition in of.iter() {
            let mut one = self.clone();
            one.health = self.health.for_partition(partition);
            one.metrics = self.metrics.for_partition(partition);
            let (beside, balance) = (beside.clone(), balance.clone());
            let assignment = PartitionAssignment { partition, of };
            partitions.spawn_blocking(move || {
                let runtime = start_runtime()?;
                let served = runtime.block_on(one.partition(assignment, replicas, beside, balance));
                served.with_context(|| format!("partition {partition}"))
            });
        }
        let balancing = tokio::spawn(balance.run(beside, replicas, shutdown));
        let mut ended = Ok(());
        while let Some(one) = partitions.join_next().await {
            // A controller that can no longer lead one of them is of no use for the others.
            self.shutdown.begin();
            ended = ended.and(one.context("a partition panicked").flatten());
        }
        ended.and(balancing.await.context("the balancing panicked"))
    }

    /// One partition, in turn followed and led, until the shutdown begins.
    async fn partition(
        &self,
        assignment: PartitionAssignment,
        replicas: usize,
        beside: Client,
        balance: Rebalancer,
    ) -> anyhow::Result<()> {
        let several = assignment.is_one_of_several();
        let data_dir = assignment.data_dir(&self.config.data_dir);
        let mut shutdown = self.shutdown.clone();
        let serving = async {
            while !shutdown.has_begun() {
                self.health.set_connecting();
                let (client, connected) = tokio::select! {
                    connection = connection::connect(&self.config.access, self.metrics.counters()) => connection,
                    () = shutdown.begun() => return Ok(()),
                };
                let replica = Candidate {
                    data_dir: &data_dir,
                    stream: JournalStream::new(client, replicas, assignment),
                    beside: beside.clone(),
                    balance: balance.clone(),
                    connected,
                    audit: &self.audit,
                    metrics: &self.metrics,
                    health: &self.health,
                    shutdown: shutdown.clone(),
                };
                Box::pin(replica.run()).await?;
            }
            Ok(())
        };
        if several {
            let span = info_span!("partition", number = %assignment.partition);
            serving.instrument(span).await
        } else {
            serving.await
        }
    }

    /// The only controller: from the store's file to its last checkpoint, until the shutdown begins, or the NATS client ends by
    /// itself.
    async fn alone(&self) -> anyhow::Result<()> {
        let Self {
            config,
            audit,
            metrics,
            health,
            shutdown,
        } = self;
        let (counters, mut shutdown) = (metrics.counters(), shutdown.clone());
        health.set_loading();
        // It may take seconds, and meanwhile others are told so.
        let data_dir = config.data_dir.clone();
        let loading = tokio::task::spawn_blocking(move || {
            let mut store = RedbStore::open(&data_dir)?;
            let state = engine::load(&mut store)?;
            Ok::<_, StoreError>((store, state))
        });
        let (store, state) = loading.await.context("the loading panicked")??;
        let backups = BackupServer::start(&config.data_dir, store.snapshots());
        let (hosts, shards, open) = state.row_counts();
        info!(
            "loaded {hosts} hosts, {shards} shards, {open} open operations from {}",
            config.data_dir.display()
        );

        health.set_connecting();
        let (client, connected) = tokio::select! {
            connection = connection::connect(&config.access, counters) => connection,
            () = shutdown.begun() => {
                backups.stop().await;
                return Ok(());
            }
        };
        let (term, depose) = Term::until(shutdown);
        let led = LeaderContext {
            client,
            connected,
            audit,
            metrics,
            health,
            lease: LeaseGuard::alone(),
            term,
            depose,
            assignment: PartitionAssignment::WHOLE,
            names: None,
        };
        let ended = led.lead(state, store).await;
        backups.stop().await;
        ended
    }
}

/// Does something once, and says what: until it is done, or the operator does not want it any more.
fn once<D: Display + Send + 'static, E: std::error::Error + Send + Sync + 'static>(
    work: impl FnOnce(&Interrupt) -> Result<D, E> + Send + 'static,
) -> ExitCode {
    let interrupt = Arc::new(Interrupt::default());
    let interrupted = Arc::clone(&interrupt);
    let outcome = start_runtime().and_then(|runtime| {
        runtime.block_on(async {
            let mut shutdown = term::listen().context("cannot listen for signals")?;
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

/// The log on standard error, and the audit log where it belongs.
fn write_logs(format: LogFormat, audit: &Audit) {
    let filter = Audit::left_out_of(log::filter("info,async_nats=error"));
    tracing_subscriber::registry()
        .with(log::to_stderr(format).with_filter(filter))
        .with(audit.layer())
        .init();
}
