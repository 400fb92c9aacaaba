//! The swarm as it is now: three mirrors, fed by broadcasts, and by lists where a broadcast is missing. What is kept of it is
//! `mirror`'s rule, what is shown of it is `watch`'s matter.

use std::time::{Duration, Instant};

use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use futures_util::stream::{SelectAll, select_all};
use scuttle_schemas::PageLimit;
use scuttle_schemas::hosts::{HostRecord, HostsUpdated};
use scuttle_schemas::operations::{OperationRecord, OperationsListRequest, OperationsUpdated};
use scuttle_schemas::shards::{ShardRecord, ShardsListRequest, ShardsUpdated};
use scuttle_schemas::{DeckyId, HostId, OperationId, ReadError, read, subjects};
use tokio::sync::broadcast;
use tokio::sync::mpsc;

use crate::ask::{AskError, Bus, Sign};
use crate::lists;
use crate::mirror::{Changes, Mirror};

/// Which shard.
pub(crate) type ShardKey = (HostId, DeckyId);

/// The most operations that are looked at: the newest.
const OPERATIONS: usize = 1000;

/// Each subject is heard every 5 s at the latest: so long without any, and the controller is not there.
const SILENCE: Duration = Duration::from_secs(12);

/// Until a list that was not answered is asked for again.
const PAUSE: Duration = Duration::from_secs(2);

/// What came.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Hosts changed.
    Hosts(Changes<HostId>),
    /// Shards changed.
    Shards(Changes<ShardKey>),
    /// Operations changed.
    Operations(Changes<OperationId>),
    /// Something is not as it should be; it is tried again.
    Trouble(String),
    /// Nothing new.
    Nothing,
}

/// A list that was asked for.
#[derive(Debug)]
enum Listing {
    Hosts(u64, Vec<(HostId, u64, HostRecord)>),
    Shards(u64, Vec<(ShardKey, u64, ShardRecord)>),
    Operations(u64, Vec<(OperationId, u64, OperationRecord)>),
    Trouble(String),
}

/// One kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Hosts,
    Shards,
    Operations,
}

/// Whether a kind is being listed.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    running: bool,
    again: bool,
}

/// A live view.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) hosts: Mirror<HostId, HostRecord>,
    pub(crate) shards: Mirror<ShardKey, ShardRecord>,
    pub(crate) operations: Mirror<OperationId, OperationRecord>,
    bus: Bus,
    messages: SelectAll<Subscriber>,
    signs: broadcast::Receiver<Sign>,
    listings: mpsc::Receiver<Listing>,
    list: mpsc::Sender<Listing>,
    states: [State; 3],
    connected: bool,
    heard: Instant,
    trouble: Option<String>,
}

impl Live {
    /// Subscribes, and asks for the lists, which come as changes.
    pub(crate) async fn open(bus: &Bus) -> Result<Self, AskError> {
        let signs = bus.signs();
        let mut subscribers = Vec::new();
        for subject in subjects::BROADCASTS {
            subscribers.push(bus.subscribe(subject).await?);
        }
        let (list, listings) = mpsc::channel(3);
        let mut live = Self {
            hosts: Mirror::new(),
            shards: Mirror::new(),
            operations: Mirror::new(),
            bus: bus.clone(),
            messages: select_all(subscribers),
            signs,
            listings,
            list,
            states: [State::default(); 3],
            connected: true,
            heard: Instant::now(),
            trouble: None,
        };
        live.list_all();
        Ok(live)
    }

    /// Whether everything has been listed once.
    pub(crate) fn is_complete(&self) -> bool {
        self.hosts.is_listed() && self.shards.is_listed() && self.operations.is_listed()
    }

    /// Why what is known may be old, if it may.
    pub(crate) fn stale(&self) -> Option<String> {
        if !self.connected {
            return Some(
                "the connection to the NATS server is lost; it is sought again".to_owned(),
            );
        }
        if let Some(trouble) = &self.trouble {
            return Some(trouble.clone());
        }
        let silent = self.heard.elapsed();
        (silent > SILENCE).then(|| {
            let seconds = silent.as_secs();
            format!("nothing heard from the controller for {seconds} s; try `scuttle doctor`")
        })
    }

    /// What came next. It can be dropped at any time: nothing is lost.
    pub(crate) async fn next(&mut self) -> Heard {
        tokio::select! {
            Some(message) = self.messages.next() => self.message(&message),
            Some(listing) = self.listings.recv() => self.listing(listing),
            sign = self.signs.recv() => self.sign(sign.ok()),
        }
    }

    fn message(&mut self, message: &Message) -> Heard {
        let told = match message.subject.as_str() {
            subjects::HOSTS_UPDATED => self.told_hosts(&message.payload),
            subjects::SHARDS_UPDATED => self.told_shards(&message.payload),
            _ => self.told_operations(&message.payload),
        };
        match told {
            Ok(heard) => {
                self.heard = Instant::now();
                heard
            }
            Err(error) => Heard::Trouble(format!("{}: {error}", message.subject)),
        }
    }

    fn told_hosts(&mut self, payload: &[u8]) -> Result<Heard, ReadError> {
        let told: HostsUpdated = read("broadcast", payload)?;
        let keyed = |host: HostRecord| (host.host_uuid.clone(), host);
        let updated = told.updated.into_iter().map(keyed).collect();
        let changes = self.hosts.told(told.revision, updated, Vec::new());
        self.list_if(changes.missed, Kind::Hosts);
        Ok(Heard::Hosts(changes))
    }

    fn told_shards(&mut self, payload: &[u8]) -> Result<Heard, ReadError> {
        let told: ShardsUpdated = read("broadcast", payload)?;
        let keyed = |shard: ShardRecord| (key(&shard), shard);
        let updated = told.updated.into_iter().map(keyed).collect();
        let removed = told.removed.into_iter();
        let removed = removed.map(|shard| (shard.host_uuid, shard.decky_id));
        let changes = self.shards.told(told.revision, updated, removed.collect());
        if self.shards.is_listed() && !self.states[Kind::Shards as usize].running {
            self.shards.forget(&changes.removed);
        }
        self.list_if(changes.missed, Kind::Shards);
        Ok(Heard::Shards(changes))
    }

    fn told_operations(&mut self, payload: &[u8]) -> Result<Heard, ReadError> {
        let told: OperationsUpdated = read("broadcast", payload)?;
        let keyed = |operation: OperationRecord| (operation.operation_id, operation);
        let updated = told.updated.into_iter().map(keyed).collect();
        let changes = self.operations.told(told.revision, updated, Vec::new());
        self.list_if(changes.missed, Kind::Operations);
        Ok(Heard::Operations(changes))
    }

    fn listing(&mut self, listing: Listing) -> Heard {
        let (kind, heard) = match listing {
            Listing::Trouble(trouble) => {
                self.trouble = Some(trouble.clone());
                return Heard::Trouble(trouble);
            }
            Listing::Hosts(first, all) => {
                let changes = self.hosts.listed(first, all);
                (Kind::Hosts, Heard::Hosts(changes))
            }
            Listing::Shards(first, all) => {
                let changes = self.shards.listed(first, all);
                (Kind::Shards, Heard::Shards(changes))
            }
            Listing::Operations(first, all) => {
                let changes = self.operations.listed(first, all);
                (Kind::Operations, Heard::Operations(changes))
            }
        };
        self.heard = Instant::now();
        self.trouble = None;
        let again = std::mem::take(&mut self.states[kind as usize]).again;
        self.list_if(again, kind);
        heard
    }

    fn sign(&mut self, sign: Option<Sign>) -> Heard {
        match sign {
            Some(Sign::Lost) => {
                self.connected = false;
                Heard::Nothing
            }
            // It tells of the first connection, too.
            Some(Sign::Back) if self.connected => Heard::Nothing,
            // Whatever was told meanwhile is missed. The same where signs were too many to be kept.
            Some(Sign::Back) | None => {
                self.connected = true;
                self.list_all();
                Heard::Nothing
            }
            Some(Sign::Complaint(complaint)) => Heard::Trouble(complaint),
        }
    }

    fn list_all(&mut self) {
        for kind in [Kind::Hosts, Kind::Shards, Kind::Operations] {
            self.list_if(true, kind);
        }
    }

    /// Asks for a list in the background: what is told meanwhile is taken in as it comes.
    fn list_if(&mut self, wanted: bool, kind: Kind) {
        let state = &mut self.states[kind as usize];
        if !wanted {
            return;
        }
        if state.running {
            state.again = true;
            return;
        }
        state.running = true;
        let (bus, list) = (self.bus.clone(), self.list.clone());
        tokio::spawn(async move {
            loop {
                let (told, done) = match ask(&bus, kind).await {
                    Ok(listing) => (listing, true),
                    Err(error) => (Listing::Trouble(error.to_string()), false),
                };
                if list.send(told).await.is_err() || done {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
}

async fn ask(bus: &Bus, kind: Kind) -> Result<Listing, AskError> {
    Ok(match kind {
        Kind::Hosts => {
            let list = lists::hosts(bus).await?;
            let keyed = |host: HostRecord| (host.host_uuid.clone(), list.revision, host);
            Listing::Hosts(list.revision, list.hosts.into_iter().map(keyed).collect())
        }
        Kind::Shards => {
            let request = ShardsListRequest {
                limit: PageLimit::try_from(1000).unwrap_or_default(),
                ..ShardsListRequest::default()
            };
            let list = lists::shards(bus, request).await?;
            let keyed = |shard: ShardRecord| (key(&shard), shard.revision, shard);
            Listing::Shards(list.revision, list.shards.into_iter().map(keyed).collect())
        }
        Kind::Operations => {
            let request = OperationsListRequest {
                limit: PageLimit::try_from(1000).unwrap_or_default(),
                ..OperationsListRequest::default()
            };
            let list = lists::operations(bus, request, OPERATIONS).await?;
            let first = list.revision;
            let keyed = |operation: OperationRecord| (operation.operation_id, first, operation);
            let all = list.operations.into_iter().map(keyed).collect();
            Listing::Operations(first, all)
        }
    })
}

fn key(shard: &ShardRecord) -> ShardKey {
    (shard.host_uuid.clone(), shard.decky_id.clone())
}
