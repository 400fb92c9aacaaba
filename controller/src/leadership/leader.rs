//! Leading: from the first request that is read to the last answer, over one state and its store.

use std::time::Duration;

use anyhow::Context;
use async_nats::Client;
use async_nats::service::Service;
use scuttle_core::State;
use scuttle_schemas::subjects::{self, AgentChannel};
use tokio::sync::mpsc;
use tokio::task::{JoinSet, unconstrained};
use tracing::{error, info, warn};

use crate::admission::capacity::{Inbox, Limits};
use crate::clock;
use crate::engine::{self, OUTBOX};
use crate::leadership::lease::LeaseGuard;
use crate::leadership::term::{StepDown, StopReason, Term};
use crate::nats::connection::Connected;
use crate::nats::service;
use crate::observability::audit::Audit;
use crate::observability::event_log::EventLog;
use crate::observability::health::Health;
use crate::observability::metrics::{Metrics, Queues};
use crate::outbound::publisher;
use crate::partition::assignment::PartitionAssignment;
use crate::partition::name_registry::Names;
use crate::partition::scatter_gather::{self, Gather};
use crate::request::endpoint::Endpoint;
use crate::request::serve::{self, Desk, Inbound};
use crate::store::{Store, StoreError};

/// How long the last answers may take to reach the server at a shutdown.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// What a leader works with, beside its state and its store.
#[derive(Debug)]
pub struct LeaderContext<'a> {
    /// The NATS server.
    pub client: Client,
    /// Whether it is there.
    pub connected: Connected,
    /// Where changes are written down.
    pub audit: &'a Audit,
    /// What is counted.
    pub metrics: &'a Metrics,
    /// What it is at.
    pub health: &'a Health,
    /// Whether it still leads, as far as it can know.
    pub lease: LeaseGuard,
    /// When to stop.
    pub term: Term,
    /// Stops it where the journal is somebody else's.
    pub depose: StepDown,
    /// Which hosts are its own.
    pub assignment: PartitionAssignment,
    /// Where their names are claimed, if others have hosts, too.
    pub names: Option<Names>,
}

impl LeaderContext<'_> {
    /// Answers requests until the term ends, or the NATS client ends by itself. All that was told is durable then.
    ///
    /// # Errors
    /// A commit failed, and not because another leads.
    pub async fn lead(self, state: State, mut store: impl Store + 'static) -> anyhow::Result<()> {
        let Self {
            client,
            connected,
            audit,
            metrics,
            health,
            lease,
            term,
            depose,
            assignment,
            names,
        } = self;
        let (counters, stats) = (metrics.counters(), metrics.stats().clone());
        let (inbox, jobs) = Inbox::new(Limits::STANDARD);
        let (outbox, effects) = mpsc::channel(OUTBOX);
        metrics.queues(Queues {
            inbox: inbox.depths(),
            outbox: outbox.downgrade(),
        });
        let books = (audit.clone(), counters.clone(), EventLog::new(&state));
        let may_send = (connected.clone(), lease.clone());
        let outbound = publisher::run((client.clone(), assignment), effects, may_send, books);
        // What has been decided goes before what else could be read: a flood must not keep the answers back.
        let outbound = tokio::spawn(unconstrained(outbound));
        let engine = tokio::task::spawn_blocking(move || {
            let shown = (&stats, &depose);
            engine::run(state, &mut store, jobs, &outbox, clock::now, shown)
        });
        let desk = Desk {
            client: client.clone(),
            connected: connected.clone(),
            audit: audit.clone(),
            counters: counters.clone(),
            term: term.clone(),
            assignment,
            names,
        };
        let subscribed = subscribe(Inbound { inbox, desk }, lease).await;
        match &subscribed {
            Ok(_) => {
                health.set_leading(connected);
                info!("ready");
            }
            Err(error) => error!("{error:#}"),
        }

        // The engine ends when the shutdown takes its senders away, when the subscriptions end, or when a
        // commit failed.
        match engine.await.context("the engine panicked")? {
            Err(StoreError::Journal(error)) => warn!("it leads no more: {error}"),
            Err(error) => return Err(error.into()),
            Ok(()) => match term.end() {
                Some(StopReason::Shutdown) => info!("stopped: everything is on disk"),
                Some(StopReason::SteppedDown) => warn!("it leads no more: its lease is over"),
                // It does so on a message that it cannot read.
                None => error!(
                    "the NATS client has ended by itself: everything is on disk; starting again"
                ),
            },
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
}

/// Subscribes every subject; each has a task that holds a sender of the inbox until the shutdown.
async fn subscribe(inbound: Inbound, lease: LeaseGuard) -> anyhow::Result<(Service, JoinSet<()>)> {
    let Desk {
        client,
        counters,
        assignment,
        ..
    } = &inbound.desk;
    let mut tasks = JoinSet::new();
    let progress = client
        .subscribe(AgentChannel::Progress.wildcard_subject())
        .await?;
    // Each looks at all that waits for it before another runs, as many messages as came in one go: else those that are read
    // meanwhile would be more than a subscription holds.
    tasks.spawn(unconstrained(serve::progress(progress, inbound.clone())));
    let failed = |error: async_nats::Error| anyhow::anyhow!("cannot start the service: {error}");
    let service = service::start(client, counters).await.map_err(failed)?;
    let add = async |subject: String, name: &str| {
        let endpoint = service.endpoint_builder().name(name).add(subject).await;
        endpoint.map_err(failed)
    };
    for endpoint in Endpoint::ALL {
        let (subject, name) = assignment.endpoint_subject(endpoint);
        let requests = add(subject, &name).await?;
        let serving = serve::serve(endpoint, requests, inbound.clone());
        tasks.spawn(unconstrained(serving));
    }
    if assignment.is_one_of_several() && assignment.is_first() {
        for broadcast in subjects::BROADCASTS {
            let told = client
                .subscribe(subjects::relay_subject(None, broadcast))
                .await?;
            tasks.spawn(unconstrained(serve::told(told, inbound.clone())));
        }
        let gather = Gather {
            client: client.clone(),
            counters: counters.clone(),
            lease,
            term: inbound.desk.term.clone(),
            of: assignment.of,
            room: Gather::room(),
        };
        for endpoint in Endpoint::ALL.into_iter().filter(|one| one.reads()) {
            let requests = add(endpoint.subject(), endpoint.name()).await?;
            tasks.spawn(scatter_gather::serve(endpoint, requests, gather.clone()));
        }
    }
    Ok((service, tasks))
}
