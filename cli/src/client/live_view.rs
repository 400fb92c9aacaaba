//! A live view of the swarm: one `ReplicaView` each for hosts, shards and operations.
//!
//! Broadcasts update the views. If a broadcast was missed, the records are listed again. `scuttle
//! watch` selects the records to show.

use std::time::{Duration, Instant};

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use futures_util::stream::{SelectAll, select_all};
use scuttle_schemas::hosts::{HostRecord, HostsUpdated};
use scuttle_schemas::operations::{OperationRecord, OperationsUpdated};
use scuttle_schemas::shards::{ShardRecord, ShardsListRequest, ShardsUpdated};
use scuttle_schemas::{DeckyId, HostId, OperationId, PageLimit, ReadError, read, subjects};
use tokio::sync::broadcast;
use tokio::sync::mpsc;

use super::client_error::ClientError;
use super::lists::{self, OperationsFilter};
use super::nats_client::{Client, ConnectionEvent};
use super::replica_view::{Changes, ListedRecord, ReplicaView};

pub(crate) type ShardKey = (HostId, DeckyId);

/// The maximum number of operations in a listing. The newest are listed, and broadcasts add later
/// operations to the view.
const MAX_OPERATIONS: usize = 1000;

/// The time without any broadcast or listing after which the view counts as stale. The controller
/// sends a message on each broadcast subject at least every 5 s.
const BROADCAST_TIMEOUT: Duration = Duration::from_secs(12);

/// The delay between a failed listing and the next attempt.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// An update that `LiveView::next` has received and applied, or an error.
#[derive(Debug)]
pub(crate) enum Update {
    Hosts(Changes<HostId>),
    Shards(Changes<ShardKey>),
    Operations(Changes<OperationId>),
    /// An error. The view recovers automatically.
    Problem(String),
    /// A listing failed. The view tries again.
    ListingFailed(ClientError),
    Nothing,
}

/// The result of a listing in the background. A list comes with the revision of its first page.
#[derive(Debug)]
enum Listing {
    Hosts(u64, Vec<ListedRecord<HostId, HostRecord>>),
    Shards(u64, Vec<ListedRecord<ShardKey, ShardRecord>>),
    Operations(u64, Vec<ListedRecord<OperationId, OperationRecord>>),
    Failed(ClientError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordKind {
    Hosts,
    Shards,
    Operations,
}

/// The progress of listing the records of one kind.
#[derive(Debug, Clone, Copy, Default)]
struct ListingState {
    in_progress: bool,
    /// Whether to list again when the listing in progress ends. True if a broadcast may have been
    /// missed since that listing started.
    list_again: bool,
}

/// A copy of all hosts and shards and of the newest operations, kept up to date by broadcasts.
#[derive(Debug)]
pub(crate) struct LiveView {
    pub(crate) hosts: ReplicaView<HostId, HostRecord>,
    pub(crate) shards: ReplicaView<ShardKey, ShardRecord>,
    pub(crate) operations: ReplicaView<OperationId, OperationRecord>,
    client: Client,
    broadcasts: SelectAll<Subscriber>,
    events: broadcast::Receiver<ConnectionEvent>,
    listings: mpsc::Receiver<Listing>,
    listing_sender: mpsc::Sender<Listing>,
    /// The states of the listings, indexed by `RecordKind`.
    listing_states: [ListingState; 3],
    is_connected: bool,
    /// The time at which the last broadcast or listing was received. Initially, the time at which
    /// the view was opened.
    last_received: Instant,
    /// The reason why the last listing failed. `None` if it succeeded, or if no listing has ended
    /// yet.
    problem: Option<String>,
}

impl LiveView {
    /// Subscribes to the broadcasts and starts listing. The listed records arrive as updates.
    pub(crate) async fn open(client: &Client) -> Result<Self, ClientError> {
        let events = client.events();
        let mut subscribers = Vec::new();
        for subject in subjects::BROADCASTS {
            subscribers.push(client.subscribe(subject).await?);
        }
        let (listing_sender, listings) = mpsc::channel(3);
        let mut view = Self {
            hosts: ReplicaView::new(),
            shards: ReplicaView::new(),
            operations: ReplicaView::new(),
            client: client.clone(),
            broadcasts: select_all(subscribers),
            events,
            listings,
            listing_sender,
            listing_states: [ListingState::default(); 3],
            is_connected: true,
            last_received: Instant::now(),
            problem: None,
        };
        view.list_all();
        Ok(view)
    }

    /// Returns whether every kind of record has been listed at least once.
    pub(crate) fn is_complete(&self) -> bool {
        self.hosts.is_listed() && self.shards.is_listed() && self.operations.is_listed()
    }

    /// Returns the reason why the view may be stale, or `None` if it is current.
    pub(crate) fn stale_reason(&self) -> Option<String> {
        if !self.is_connected {
            return Some("the connection to the NATS server is lost; reconnecting".to_owned());
        }
        if let Some(problem) = &self.problem {
            return Some(problem.clone());
        }
        let silence = self.last_received.elapsed();
        (silence > BROADCAST_TIMEOUT).then(|| {
            let seconds = silence.as_secs();
            format!("no message from the controller for {seconds} s; run `scuttle doctor`")
        })
    }

    /// Waits for the next broadcast, listing or connection event, applies it, and returns the
    /// changes. This method is cancel safe.
    pub(crate) async fn next(&mut self) -> Update {
        tokio::select! {
            Some(message) = self.broadcasts.next() => self.apply_broadcast(&message),
            Some(listing) = self.listings.recv() => self.apply_listing(listing),
            event = self.events.recv() => self.apply_event(event.ok()),
        }
    }

    fn apply_broadcast(&mut self, message: &Message) -> Update {
        let update = match message.subject.as_str() {
            subjects::HOSTS_UPDATED => self.apply_hosts(&message.payload),
            subjects::SHARDS_UPDATED => self.apply_shards(&message.payload),
            _ => self.apply_operations(&message.payload),
        };
        match update {
            Ok(update) => {
                self.last_received = Instant::now();
                update
            }
            Err(error) => Update::Problem(format!("{}: {error}", message.subject)),
        }
    }

    fn apply_hosts(&mut self, payload: &[u8]) -> Result<Update, ReadError> {
        let broadcast: HostsUpdated = read("broadcast", payload)?;
        let with_key = |host: HostRecord| (host.host_uuid.clone(), host);
        let updated = broadcast.updated.into_iter().map(with_key).collect();
        let changes = self
            .hosts
            .apply_broadcast(broadcast.revision, updated, Vec::new());
        if changes.gap {
            self.list(RecordKind::Hosts);
        }
        Ok(Update::Hosts(changes))
    }

    fn apply_shards(&mut self, payload: &[u8]) -> Result<Update, ReadError> {
        let broadcast: ShardsUpdated = read("broadcast", payload)?;
        let with_key = |shard: ShardRecord| (shard_key(&shard), shard);
        let updated = broadcast.updated.into_iter().map(with_key).collect();
        let removed = broadcast.removed.into_iter();
        let removed = removed.map(|shard| (shard.host_uuid, shard.decky_id));
        let changes = self
            .shards
            .apply_broadcast(broadcast.revision, updated, removed.collect());
        let state = self.listing_states[RecordKind::Shards as usize];
        if self.shards.is_listed() && !state.in_progress {
            self.shards.forget(&changes.removed);
        }
        if changes.gap {
            self.list(RecordKind::Shards);
        }
        Ok(Update::Shards(changes))
    }

    fn apply_operations(&mut self, payload: &[u8]) -> Result<Update, ReadError> {
        let broadcast: OperationsUpdated = read("broadcast", payload)?;
        let with_key = |operation: OperationRecord| (operation.operation_id, operation);
        let updated = broadcast.updated.into_iter().map(with_key).collect();
        let changes = self
            .operations
            .apply_broadcast(broadcast.revision, updated, Vec::new());
        if changes.gap {
            self.list(RecordKind::Operations);
        }
        Ok(Update::Operations(changes))
    }

    fn apply_listing(&mut self, listing: Listing) -> Update {
        let (kind, update) = match listing {
            Listing::Failed(error) => {
                self.problem = Some(error.to_string());
                return Update::ListingFailed(error);
            }
            Listing::Hosts(revision, records) => {
                let changes = self.hosts.apply_listing(revision, records);
                (RecordKind::Hosts, Update::Hosts(changes))
            }
            Listing::Shards(revision, records) => {
                let changes = self.shards.apply_listing(revision, records);
                (RecordKind::Shards, Update::Shards(changes))
            }
            Listing::Operations(revision, records) => {
                let changes = self.operations.apply_listing(revision, records);
                (RecordKind::Operations, Update::Operations(changes))
            }
        };
        self.last_received = Instant::now();
        self.problem = None;
        let state = std::mem::take(&mut self.listing_states[kind as usize]);
        if state.list_again {
            self.list(kind);
        }
        update
    }

    /// Applies an event of the connection. `None` stands for events that were lost because too many
    /// came at once.
    fn apply_event(&mut self, event: Option<ConnectionEvent>) -> Update {
        match event {
            Some(ConnectionEvent::Disconnected) => {
                self.is_connected = false;
                Update::Nothing
            }
            // This event also reports the first connection.
            Some(ConnectionEvent::Connected) if self.is_connected => Update::Nothing,
            // Broadcasts were missed while there was no connection. Lost events may include that.
            Some(ConnectionEvent::Connected) | None => {
                self.is_connected = true;
                self.list_all();
                Update::Nothing
            }
            Some(ConnectionEvent::ServerError(error)) => Update::Problem(error),
        }
    }

    fn list_all(&mut self) {
        for kind in [
            RecordKind::Hosts,
            RecordKind::Shards,
            RecordKind::Operations,
        ] {
            self.list(kind);
        }
    }

    /// Lists the records of one kind in the background, and retries until a listing succeeds. If a
    /// listing is already in progress, another one starts when it ends.
    fn list(&mut self, kind: RecordKind) {
        let state = &mut self.listing_states[kind as usize];
        if state.in_progress {
            state.list_again = true;
            return;
        }
        state.in_progress = true;
        let (client, listings) = (self.client.clone(), self.listing_sender.clone());
        tokio::spawn(async move {
            loop {
                let (listing, done) = match request_listing(&client, kind).await {
                    Ok(listing) => (listing, true),
                    Err(error) => (Listing::Failed(error), false),
                };
                if listings.send(listing).await.is_err() || done {
                    return;
                }
                tokio::time::sleep(RETRY_DELAY).await;
            }
        });
    }
}

async fn request_listing(client: &Client, kind: RecordKind) -> Result<Listing, ClientError> {
    Ok(match kind {
        RecordKind::Hosts => {
            let list = lists::list_hosts(client).await?;
            let revision = list.revision;
            let records = list.hosts.into_iter().map(|host| ListedRecord {
                key: host.host_uuid.clone(),
                revision,
                record: host,
            });
            Listing::Hosts(revision, records.collect())
        }
        RecordKind::Shards => {
            let request = ShardsListRequest {
                limit: PageLimit::try_from(1000).unwrap_or_default(),
                ..ShardsListRequest::default()
            };
            let list = lists::list_shards(client, request).await?;
            let records = list.shards.into_iter().map(|shard| ListedRecord {
                key: shard_key(&shard),
                revision: shard.revision,
                record: shard,
            });
            Listing::Shards(list.revision, records.collect())
        }
        RecordKind::Operations => {
            let filter = OperationsFilter::default();
            let list = lists::list_operations(client, &filter, MAX_OPERATIONS).await?;
            let revision = list.revision;
            let records = list.operations.into_iter().map(|operation| ListedRecord {
                key: operation.operation_id,
                revision,
                record: operation,
            });
            Listing::Operations(revision, records.collect())
        }
    })
}

fn shard_key(shard: &ShardRecord) -> ShardKey {
    (shard.host_uuid.clone(), shard.decky_id.clone())
}
