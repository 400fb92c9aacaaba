//! The life cycle of the process: starts the controller's parts, connects them, and stops them in
//! order.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_nats::Client;
use scuttle_nats::check_max_payload;
use scuttle_schemas::PartitionCount;
use scuttle_schemas::subjects::METADATA_NO_PAGE;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error, info, info_span, warn};
use uuid::Uuid;

use crate::config::options::{Config, Journal};
use crate::http::server::{Server, Sources, missing_page_reason};
use crate::leadership::candidate::Candidate;
use crate::leadership::leader::LeaderContext;
use crate::leadership::lease::{LEASE_TTL, LeaseGuard};
use crate::leadership::rebalance::Rebalancer;
use crate::leadership::term::{StopReason, Term};
use crate::nats::connection;
use crate::nats::durability_check;
use crate::nats::permission_check::find_missing_permissions;
use crate::observability::audit::Audit;
use crate::observability::health::Health;
use crate::observability::metrics::Metrics;
use crate::ops::backup::BackupServer;
use crate::partition::assignment::PartitionAssignment;
use crate::peers::instance::{Instance, RecordStore};
use crate::peers::presence::Connections;
use crate::peers::startup::wait_until_allowed;
use crate::request::discovery::Metadata;
use crate::store::file_watch::FileWatch;
use crate::store::{FILE_NAME, JournalStream, RedbStore, StoreError};
use crate::{engine, signals};

/// The interval at which a controller that lacks permissions checks them again. They may be granted
/// meanwhile, for example by a reload of the server's configuration.
const PERMISSION_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Runs the service until a signal stops it. Returns earlier only with an error.
pub async fn run(config: &Arc<Config>, audit: &Audit) -> anyhow::Result<()> {
    let shutdown = signals::listen().context("cannot listen for signals")?;
    let partitions = match config.journal {
        Journal::Own => PartitionCount::ONE,
        Journal::Shared { partitions, .. } => partitions,
    };
    let health = Health::new(shutdown.clone(), partitions);
    let metrics = Metrics::new(health.clone(), partitions);
    if let Some(address) = config.http {
        let sources = Sources {
            health: health.clone(),
            metrics: metrics.clone(),
        };
        let server = Server::bind(address, &config.web_nats_url, sources);
        let server = server.await.with_context(|| {
            format!("cannot listen on {address}; give --http another address, or stop the program that uses it")
        })?;
        tokio::spawn(server.run());
    }
    let app = App {
        config: config.clone(),
        audit: audit.clone(),
        metrics: metrics.clone(),
        health,
        shutdown,
    };
    match config.journal {
        Journal::Own => {
            while !app.shutdown.is_cancelled() {
                Box::pin(app.run_alone()).await?;
            }
        }
        Journal::Shared {
            replicas,
            partitions,
        } => Box::pin(app.run_in_cluster(replicas, partitions)).await?,
    }
    let rejected = metrics.counters().to_string();
    if !rejected.is_empty() {
        info!("rejected or ignored since the start: {rejected}");
    }
    Ok(())
}

/// The resources that the parts of the process share.
#[derive(Clone)]
struct App {
    config: Arc<Config>,
    audit: Audit,
    metrics: Metrics,
    health: Health,
    shutdown: CancellationToken,
}

/// The resources that the partitions of one controller share.
#[derive(Clone)]
struct Cluster {
    /// The number of NATS servers that keep a copy of each journal.
    replicas: usize,
    /// The connection for leases, separate from the connections that carry the journals.
    lease_client: Client,
    rebalancer: Rebalancer,
}

impl App {
    /// Runs as one of several controllers that share the journals, until the shutdown or until a
    /// partition fails.
    async fn run_in_cluster(
        self,
        replicas: usize,
        partitions: PartitionCount,
    ) -> anyhow::Result<()> {
        self.health.set_connecting();
        let (lease_client, _) = tokio::select! {
            connection = connection::connect(&self.config.nats, self.metrics.counters()) => connection,
            () = self.shutdown.cancelled() => return Ok(()),
        };
        if !self.wait_until_permitted().await {
            return Ok(());
        }
        check_max_payload(lease_client.max_payload())?;
        let client = lease_client.clone();
        tokio::spawn(async move {
            durability_check::warn_if_not_durable(&client, &mut BTreeSet::new()).await;
        });
        let rebalancer = Rebalancer::new(partitions, LEASE_TTL);
        let cluster = Cluster {
            replicas,
            lease_client: lease_client.clone(),
            rebalancer: rebalancer.clone(),
        };
        if partitions == PartitionCount::ONE {
            return (self.run_partition(PartitionAssignment::WHOLE, cluster)).await;
        }
        // Each partition has a separate thread and connection. The partitions share nothing but the
        // rebalancer and the connection for leases.
        let mut tasks = JoinSet::new();
        for partition in partitions.iter() {
            let mut app = self.clone();
            app.health = self.health.for_partition(partition);
            app.metrics = self.metrics.for_partition(partition);
            let cluster = cluster.clone();
            let assignment = PartitionAssignment {
                partition,
                partitions,
            };
            tasks.spawn_blocking(move || {
                let runtime = start_runtime()?;
                let ended = runtime.block_on(app.run_partition(assignment, cluster));
                ended.with_context(|| format!("partition {partition}"))
            });
        }
        let rebalancing = rebalancer.run(lease_client, replicas, self.shutdown.clone());
        let rebalancing = tokio::spawn(rebalancing);
        let mut ended = Ok(());
        while let Some(task) = tasks.join_next().await {
            // A controller that can no longer lead one partition is of no use for the others.
            self.shutdown.cancel();
            ended = ended.and(task.context("a partition panicked").flatten());
        }
        ended.and(rebalancing.await.context("the rebalancing panicked"))
    }

    /// Returns the service metadata that says why the HTTP server has no web page. Empty if it has
    /// the page, or if HTTP is disabled.
    fn page_metadata(&self) -> Metadata {
        let reason = self.config.http.and_then(|_| missing_page_reason());
        let reason = reason.map(|reason| (METADATA_NO_PAGE, reason.to_owned()));
        reason.into_iter().collect()
    }

    /// Waits until the NATS server gives this program's user the permissions of a controller.
    /// Returns false if the process shuts down first.
    async fn wait_until_permitted(&self) -> bool {
        let mut logged = None;
        let permitted = async {
            while let Some(reason) = find_missing_permissions(&self.config.nats).await {
                self.health.set_denied(reason.clone());
                if logged.as_ref() != Some(&reason) {
                    error!("not ready: {reason}");
                    logged = Some(reason);
                }
                tokio::time::sleep(PERMISSION_CHECK_INTERVAL).await;
            }
        };
        tokio::select! {
            () = permitted => {
                self.health.set_connecting();
                true
            }
            () = self.shutdown.cancelled() => false,
        }
    }

    /// Alternates between following and leading one partition, until the shutdown or an error.
    async fn run_partition(
        &self,
        assignment: PartitionAssignment,
        cluster: Cluster,
    ) -> anyhow::Result<()> {
        let data_dir = assignment.data_dir(&self.config.data_dir);
        let serving = async {
            while !self.shutdown.is_cancelled() {
                self.health.set_connecting();
                let (client, connected) = tokio::select! {
                    connection = connection::connect(&self.config.nats, self.metrics.counters()) => connection,
                    () = self.shutdown.cancelled() => return Ok(()),
                };
                check_max_payload(client.max_payload())?;
                let candidate = Candidate {
                    data_dir: &data_dir,
                    stream: JournalStream::new(client, cluster.replicas, assignment),
                    lease_client: cluster.lease_client.clone(),
                    rebalancer: cluster.rebalancer.clone(),
                    access: &self.config.nats,
                    connected,
                    audit: &self.audit,
                    metrics: &self.metrics,
                    health: &self.health,
                    metadata: self.page_metadata(),
                    shutdown: self.shutdown.clone(),
                };
                Box::pin(candidate.run()).await?;
            }
            Ok(())
        };
        if assignment.is_one_of_several() {
            let span = info_span!("partition", number = %assignment.partition);
            serving.instrument(span).await
        } else {
            serving.await
        }
    }

    /// Runs as the only controller, from reading the store's file to the last checkpoint. Returns
    /// after the shutdown, when the NATS client ends, or with an error.
    async fn run_alone(&self) -> anyhow::Result<()> {
        self.health.set_loading();
        // Loading may take seconds. Meanwhile /readyz reports that the record is being read.
        let data_dir = self.config.data_dir.clone();
        let is_new = !data_dir.join(FILE_NAME).exists();
        let loading = tokio::task::spawn_blocking(move || {
            let mut store = RedbStore::open(&data_dir)?;
            let mut state = engine::load(&mut store)?;
            state.ensure_record(Uuid::now_v7());
            Ok::<_, StoreError>((store, state))
        });
        let (store, state) = loading.await.context("loading the record panicked")??;
        let file = FileWatch::start(&self.config.data_dir);
        let backups = BackupServer::start(&self.config.data_dir, store.snapshots());
        info!(
            "loaded {} from {}",
            state.row_counts(),
            self.config.data_dir.display()
        );

        if is_new {
            warn!(
                "created an empty record in {}; if the swarm had a record, stop this controller, and correct --data-dir or restore a backup",
                self.config.data_dir.display()
            );
        }

        self.health.set_connecting();
        let (client, connected) = tokio::select! {
            connection = connection::connect(&self.config.nats, self.metrics.counters()) => connection,
            () = self.shutdown.cancelled() => {
                backups.stop().await;
                return Ok(());
            }
        };
        if !self.wait_until_permitted().await {
            backups.stop().await;
            return Ok(());
        }
        if let Err(error) = check_max_payload(client.max_payload()) {
            backups.stop().await;
            return Err(error.into());
        }
        let own = Instance::new(state.record(), RecordStore::Redb);
        let connections = Connections {
            client: &client,
            connected: &connected,
            access: &self.config.nats,
            audit: &self.audit,
            metrics: &self.metrics,
        };
        let allowed = wait_until_allowed(&own, connections, &self.health, &self.shutdown).await;
        let presence = match allowed {
            Ok(Some(presence)) => presence,
            stopped => {
                backups.stop().await;
                return Ok(stopped.map(drop)?);
            }
        };
        let (term, step_down) = Term::start(self.shutdown.clone());
        let leader = LeaderContext {
            client,
            access: &self.config.nats,
            connected,
            audit: &self.audit,
            metrics: &self.metrics,
            health: &self.health,
            lease: LeaseGuard::unlimited(),
            term,
            step_down: step_down.clone(),
            assignment: PartitionAssignment::WHOLE,
            names: None,
            own,
            presence: Some(presence),
            metadata: self.page_metadata(),
        };
        let leading = leader.run(state, store);
        tokio::pin!(leading);
        let ended = tokio::select! {
            ended = &mut leading => ended,
            removed = file.wait_until_replaced() => {
                step_down.request(StopReason::StorageFailed);
                leading.await.and(Err(removed.into()))
            }
        };
        backups.stop().await;
        ended
    }
}

/// Starts a runtime with one thread for all async work, so that each wake-up handles more messages.
/// One thread is enough: reading, writing and encoding messages are a third of the controller's
/// work, and the engine's two threads do the rest.
pub fn start_runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")
}
