//! Leads a partition, from the first request that is read to the last reply that is sent.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_nats::Client;
use futures_util::future::BoxFuture;
use scuttle_core::State;
use scuttle_nats::ConnectConfig;
use scuttle_schemas::subjects::{self, AgentChannel};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, unconstrained};
use tracing::{error, info, warn};

use crate::admission::capacity::{Capacity, Limits};
use crate::admission::quarantine::Quarantine;
use crate::clock;
use crate::engine::{Engine, MAX_OUTBOX_COMMITS};
use crate::leadership::lease::LeaseGuard;
use crate::leadership::term::{StepDown, StopReason, Term};
use crate::nats::connection::Connected;
use crate::nats::receivers::{Group, GroupSubscriptions, Receivers};
use crate::observability::audit::Audit;
use crate::observability::event_log::EventLog;
use crate::observability::health::Health;
use crate::observability::metrics::{Metrics, Queues};
use crate::outbound::publisher::Publisher;
use crate::outbound::replier::Replier;
use crate::partition::assignment::PartitionAssignment;
use crate::partition::name_registry::NameRegistry;
use crate::partition::scatter_gather::ScatterGather;
use crate::peers::instance::{Instance, ServingState};
use crate::peers::monitor::watch_for_conflicts;
use crate::peers::presence::Presence;
use crate::request::discovery::{Metadata, Service};
use crate::request::endpoint::Endpoint;
use crate::request::pipeline::{Intake, JobSender, Pipeline};
use crate::request::{published, serve};
use crate::store::{Store, StoreError};

/// The maximum time at the end of a term for the last replies to reach the NATS server.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// The resources of a leader, except its state and its store.
#[derive(Debug)]
pub struct LeaderContext<'a> {
    /// The connection on which the leader sends. Only controllers can publish to it.
    pub client: Client,
    /// How to connect for receiving.
    pub access: &'a ConnectConfig,
    /// Whether the connection of `client` is up.
    pub connected: Connected,
    pub audit: &'a Audit,
    pub metrics: &'a Metrics,
    pub health: &'a Health,
    /// The guard that shows whether this controller still holds the lease.
    pub lease: LeaseGuard,
    /// The term. The leader stops when it ends.
    pub term: Term,
    /// The handle that ends the term when the store fails.
    pub step_down: StepDown,
    /// The partition whose hosts this leader is responsible for.
    pub assignment: PartitionAssignment,
    /// The registry in which host names are claimed. `None` if there is only one partition.
    pub names: Option<NameRegistry>,
    /// This controller, as service discovery shows it.
    pub own: Instance,
    /// The task that answers service discovery until this leader serves, if there is such a task.
    pub presence: Option<Presence>,
    /// The metadata that service discovery shows in addition to that of `own`.
    pub metadata: Metadata,
}

impl LeaderContext<'_> {
    /// Serves requests until the term ends or the NATS client ends. When this returns, every
    /// accepted change is durable.
    ///
    /// # Errors
    /// If the store fails. A failure of the shared journal is not an error: the leader steps down.
    pub async fn run(mut self, state: State, store: impl Store + 'static) -> anyhow::Result<()> {
        let counters = self.metrics.counters().clone();
        let capacity = Capacity::new(Limits::STANDARD);
        let (jobs_sender, jobs) = std::sync::mpsc::sync_channel(capacity.max_messages());
        let (outbox_sender, outbox) = mpsc::channel(MAX_OUTBOX_COMMITS);
        self.metrics.set_queues(Queues {
            capacity: capacity.clone(),
            outbox: outbox_sender.downgrade(),
        });
        let quarantine = Quarantine::default();
        let replier = Replier::new(
            self.client.clone(),
            self.connected.clone(),
            self.audit.clone(),
            counters.clone(),
        );
        let publisher = Publisher {
            client: self.client.clone(),
            connected: self.connected.clone(),
            lease: self.lease.clone(),
            assignment: self.assignment,
            replier: replier.clone(),
            event_log: EventLog::new(&state),
            quarantine: quarantine.clone(),
            audit: self.audit.clone(),
        };
        // Sending goes before reading: a flood of requests must not delay the replies.
        let publishing = tokio::spawn(unconstrained(publisher.run(outbox)));
        let engine = Engine {
            state,
            store,
            jobs,
            outbox: outbox_sender,
            stats: self.metrics.stats().clone(),
            step_down: self.step_down.clone(),
            now: clock::now,
            max_payload: {
                let client = self.client.clone();
                Box::new(move || client.max_payload())
            },
        };
        let engine = tokio::task::spawn_blocking(move || engine.run());
        let intake = Intake {
            capacity,
            counters,
            quarantine,
            from_accounts: Arc::default(),
            term: self.term.clone(),
            assignment: self.assignment,
            names: self.names.clone(),
        };
        let subscribed = self.subscribe(intake, jobs_sender, replier).await;
        drop(self.presence.take());
        let (own, client) = (self.own.clone(), self.client.clone());
        let (health, term) = (self.health.clone(), self.term.clone());
        tokio::spawn(watch_for_conflicts(own, client, health, term));
        match &subscribed {
            Ok(Subscribed { receivers, .. }) => {
                let connections = receivers.states().chain([self.connected]);
                self.health.set_leading(connections.collect());
                info!("ready");
            }
            Err(error) => error!("{error:#}"),
        }

        // The engine ends when the term ends, when there are no subscriptions, or when a commit
        // failed.
        let ended = engine.await.context("the engine panicked")?;
        match &ended {
            Err(StoreError::Journal(error)) => warn!("stepped down: {error}"),
            Err(error) => error!("no more requests are accepted: {error}"),
            Ok(()) => match self.term.stop_reason() {
                Some(StopReason::Shutdown) => info!("stopped: everything is on disk"),
                Some(StopReason::SteppedDown) => warn!("stepped down: lease expired"),
                Some(StopReason::StorageFailed) => error!("no more requests are accepted"),
                None => error!(
                    "cannot receive requests, because all subscriptions have ended; everything that was accepted is on disk; restarting"
                ),
            },
        }
        let finishing = async {
            let _ = publishing.await;
            if let Ok(Subscribed { receivers, tasks }) = subscribed {
                // No more requests are received. Those that have arrived are rejected with the
                // reason.
                receivers.drain().await;
                tasks.join_all().await;
            }
            self.client.flush().await
        };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, finishing)
            .await
            .is_err()
        {
            warn!("the last replies could not be sent: the NATS server is unreachable");
        }
        match ended {
            Ok(()) | Err(StoreError::Journal(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Subscribes to all subjects of this leader. When all subscriptions are active, or when the
    /// term ends, starts a task for each subscription. A reply from the leader therefore shows that
    /// all its subscriptions are active. The tasks that pass inputs to the engine hold senders of
    /// jobs until the term ends, which keeps the engine running.
    async fn subscribe(
        &self,
        intake: Intake,
        jobs: JobSender,
        replier: Replier,
    ) -> anyhow::Result<Subscribed> {
        let assignment = self.assignment;
        let mut subscriptions = GroupSubscriptions::default();
        let own = self.own.with_state(ServingState::Serving);
        let mut metadata = own.metadata();
        metadata.extend(self.metadata.clone());
        let mut service = Service::new(own.id, intake.counters.clone(), metadata);
        let mut serving: Vec<BoxFuture<'static, ()>> = Vec::new();
        let progress = [AgentChannel::Progress.wildcard_subject()];
        let progress = subscriptions.add(Group::Reports, progress);
        // `unconstrained`: a task takes all of its waiting messages before another task runs.
        // Otherwise, the messages that arrive while it waits would overflow its subscription.
        let progress = published::serve_progress(progress, intake.clone(), jobs.clone());
        serving.push(Box::pin(unconstrained(progress)));
        for endpoint in Endpoint::ALL {
            let (subject, name) = assignment.endpoint_subject(endpoint);
            let requests = subscriptions.add(group_of(endpoint, assignment), [subject.clone()]);
            service.add(endpoint, name, subject);
            let pipeline = Pipeline {
                endpoint,
                intake: intake.clone(),
                jobs: Some(jobs.clone()),
            };
            let endpoint = serve::serve_endpoint(requests, pipeline, replier.clone());
            serving.push(Box::pin(unconstrained(endpoint)));
        }
        if assignment.is_one_of_several() && assignment.is_first() {
            for broadcast in subjects::BROADCASTS {
                let relays = [subjects::relay_subject(None, broadcast)];
                let relays = subscriptions.add(Group::Peers, relays);
                let relays = published::serve_relays(relays, intake.clone(), jobs.clone());
                serving.push(Box::pin(unconstrained(relays)));
            }
            let gather = ScatterGather {
                client: self.client.clone(),
                counters: intake.counters.clone(),
                lease: self.lease.clone(),
                term: intake.term.clone(),
                partitions: assignment.partitions,
                replier: replier.clone(),
                permits: ScatterGather::new_permits(),
            };
            for endpoint in Endpoint::ALL.into_iter().filter(|one| one.is_read()) {
                let requests = subscriptions.add(Group::Reads, [endpoint.subject()]);
                service.add(endpoint, endpoint.name().to_owned(), endpoint.subject());
                serving.push(Box::pin(gather.clone().serve_endpoint(endpoint, requests)));
            }
        }
        let discovery = service.subscribe(&mut subscriptions);
        serving.push(Box::pin(service.serve(discovery, replier)));
        let receivers = subscriptions.start(self.access, &intake.counters)?;
        tokio::select! {
            () = receivers.wait_until_up() => {}
            () = self.term.ended() => {}
        }
        let tasks = serving.into_iter().collect();
        Ok(Subscribed { receivers, tasks })
    }
}

/// Returns the group of senders from which the requests to an endpoint come. With several
/// partitions, reads come from the leader of the first partition.
fn group_of(endpoint: Endpoint, assignment: PartitionAssignment) -> Group {
    if endpoint.channel().is_some() {
        Group::Reports
    } else if endpoint.is_change() {
        Group::Changes
    } else if assignment.is_one_of_several() {
        Group::Peers
    } else {
        Group::Reads
    }
}

/// The active subscriptions of a leader.
struct Subscribed {
    receivers: Receivers,
    /// One task for each subscription.
    tasks: JoinSet<()>,
}
