//! What an operator's client knows: the record as the broadcasts tell it, without gaps.
//!
//! Subscribes first, then lists; when a revision was missed (a controller that was killed sends what it had not
//! sent no more), it lists again. What is new, either way, comes out as [`Change`]s.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Context, Result};
use async_nats::{Message, Subscriber};
use futures_util::StreamExt;
use futures_util::stream::{SelectAll, select_all};
use scuttle_schemas::hosts::{HostRecord, HostStatus, HostsList, HostsUpdated};
use scuttle_schemas::operations::{
    OperationRecord, OperationState, OperationsList, OperationsUpdated,
};
use scuttle_schemas::shards::{ShardRecord, ShardState, ShardsUpdated};
use scuttle_schemas::{DeckyId, HostId, OperationId, subjects};
use scuttle_tests::Client;
use scuttle_tests::clients::broadcasts::Broadcast;
use serde_json::json;

/// One decky on one host.
pub(crate) type Shard = (HostId, DeckyId);

/// Something that is not as it was.
#[derive(Debug)]
pub(crate) enum Change {
    /// A shard's state; `None`: not on the record.
    Shard {
        shard: Shard,
        from: Option<ShardState>,
        to: Option<ShardState>,
    },
    /// An operation's state; `None`: it is new.
    Operation {
        from: Option<OperationState>,
        now: Box<OperationRecord>,
    },
    /// Whether a host's agent is heard.
    Host { host: HostId, to: HostStatus },
}

/// The record.
pub(crate) struct RecordView {
    pub(crate) shards: BTreeMap<Shard, ShardRecord>,
    pub(crate) operations: BTreeMap<OperationId, OperationRecord>,
    pub(crate) hosts: BTreeMap<HostId, HostRecord>,
    revisions: Revisions,
    messages: SelectAll<Subscriber>,
    changes: VecDeque<Change>,
}

#[derive(Default)]
struct Revisions {
    shards: u64,
    operations: u64,
    hosts: u64,
}

impl RecordView {
    /// Subscribes and lists.
    pub(crate) async fn open(client: &Client) -> Result<Self> {
        let mut subscribers = Vec::new();
        for subject in [
            subjects::SHARDS_UPDATED,
            subjects::OPERATIONS_UPDATED,
            subjects::HOSTS_UPDATED,
        ] {
            subscribers.push(client.nats().subscribe(subject).await?);
        }
        let mut view = Self {
            shards: BTreeMap::new(),
            operations: BTreeMap::new(),
            hosts: BTreeMap::new(),
            revisions: Revisions::default(),
            messages: select_all(subscribers),
            changes: VecDeque::new(),
        };
        view.list_shards(client).await?;
        view.list_operations(client).await?;
        view.list_hosts(client).await?;
        view.changes.clear();
        Ok(view)
    }

    /// The next change, when it comes.
    pub(crate) async fn next(&mut self, client: &Client) -> Result<Change> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Ok(change);
            }
            let message = self
                .messages
                .next()
                .await
                .context("the connection is closed")?;
            let text = || String::from_utf8_lossy(&message.payload).into_owned();
            self.take(client, &message).await.with_context(text)?;
        }
    }

    async fn take(&mut self, client: &Client, message: &Message) -> Result<()> {
        match message.subject.as_str() {
            subjects::SHARDS_UPDATED => {
                let told: ShardsUpdated = serde_json::from_slice(&message.payload)?;
                match follows(&mut self.revisions.shards, &told) {
                    Follows::Next => {
                        self.keep_shards(told.updated);
                        for gone in told.removed {
                            self.drop_shard(&(gone.host_uuid, gone.decky_id), gone.revision);
                        }
                    }
                    Follows::Known => {}
                    Follows::Gap => self.list_shards(client).await?,
                }
            }
            subjects::OPERATIONS_UPDATED => {
                let told: OperationsUpdated = serde_json::from_slice(&message.payload)?;
                match follows(&mut self.revisions.operations, &told) {
                    Follows::Next => self.keep_operations(told.updated),
                    Follows::Known => {}
                    Follows::Gap => self.list_operations(client).await?,
                }
            }
            _ => {
                let told: HostsUpdated = serde_json::from_slice(&message.payload)?;
                match follows(&mut self.revisions.hosts, &told) {
                    Follows::Next => self.keep_hosts(told.updated),
                    Follows::Known => {}
                    Follows::Gap => self.list_hosts(client).await?,
                }
            }
        }
        Ok(())
    }

    async fn list_shards(&mut self, client: &Client) -> Result<()> {
        let (revision, listed) = client.list_shards_paged(1000).await?;
        self.revisions.shards = revision;
        let there: BTreeSet<Shard> = listed.iter().map(key).collect();
        let gone: Vec<Shard> = (self.shards.keys())
            .filter(|shard| !there.contains(*shard))
            .cloned()
            .collect();
        for shard in gone {
            self.drop_shard(&shard, revision);
        }
        self.keep_shards(listed);
        Ok(())
    }

    async fn list_operations(&mut self, client: &Client) -> Result<()> {
        let request = json!({ "limit": 1000 });
        let page: OperationsList = client.request(subjects::OPERATIONS_LIST, &request).await?;
        self.revisions.operations = page.revision;
        self.keep_operations(page.operations);
        Ok(())
    }

    async fn list_hosts(&mut self, client: &Client) -> Result<()> {
        let request = json!({ "limit": 1000 });
        let page: HostsList = client.request(subjects::HOSTS_LIST, &request).await?;
        self.revisions.hosts = page.revision;
        self.keep_hosts(page.hosts);
        Ok(())
    }

    fn keep_shards(&mut self, records: Vec<ShardRecord>) {
        for record in records {
            let (shard, to) = (key(&record), record.state);
            let known = self.shards.get(&shard);
            if known.is_some_and(|known| known.revision >= record.revision) {
                continue;
            }
            let from = known.map(|known| known.state);
            self.shards.insert(shard.clone(), record);
            if from != Some(to) {
                let to = Some(to);
                self.changes.push_back(Change::Shard { shard, from, to });
            }
        }
    }

    fn drop_shard(&mut self, shard: &Shard, revision: u64) {
        if self
            .shards
            .get(shard)
            .is_some_and(|known| known.revision <= revision)
            && let Some(known) = self.shards.remove(shard)
        {
            let (shard, from) = (shard.clone(), Some(known.state));
            self.changes.push_back(Change::Shard {
                shard,
                from,
                to: None,
            });
        }
    }

    fn keep_operations(&mut self, records: Vec<OperationRecord>) {
        for record in records {
            let known = self.operations.insert(record.operation_id, record.clone());
            let from = known.map(|known| known.state);
            if from != Some(record.state) {
                let now = Box::new(record);
                self.changes.push_back(Change::Operation { from, now });
            }
        }
    }

    fn keep_hosts(&mut self, records: Vec<HostRecord>) {
        for record in records {
            let (host, to) = (record.host_uuid.clone(), record.status);
            let known = self.hosts.insert(host.clone(), record);
            if known.is_none_or(|known| known.status != to) {
                self.changes.push_back(Change::Host { host, to });
            }
        }
    }
}

fn key(record: &ShardRecord) -> Shard {
    (record.host_uuid.clone(), record.decky_id.clone())
}

/// How a message's revision stands to the last one.
enum Follows {
    Next,
    Known,
    Gap,
}

/// A gap's last revision is what the listing says, which is asked for after it.
fn follows(last: &mut u64, told: &impl Broadcast) -> Follows {
    let revision = told.revision();
    if revision <= *last {
        Follows::Known
    } else if revision == *last + 1 && !told.is_repeat() {
        *last = revision;
        Follows::Next
    } else {
        Follows::Gap
    }
}
