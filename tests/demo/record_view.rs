//! A client's view of the record, kept up to date from the broadcasts.
//!
//! The view first subscribes to the broadcasts, then lists the record. After a gap in the
//! revisions, it lists the record again, because a controller that is killed does not send the
//! broadcasts that were still queued. Broadcasts and lists both yield [`Change`]s.

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

/// One decky on one host, by its ids.
pub(crate) type Shard = (HostId, DeckyId);

/// A difference between two views of the record.
#[derive(Debug)]
pub(crate) enum Change {
    /// A shard's state has changed. `from` is `None` for a new shard, and `to` is `None` for a
    /// removed shard.
    Shard {
        shard: Shard,
        from: Option<ShardState>,
        to: Option<ShardState>,
    },
    /// An operation's state has changed. `from` is `None` for a new operation.
    Operation {
        from: Option<OperationState>,
        record: Box<OperationRecord>,
    },
    /// A host has a new status, or is new.
    Host { host: HostId, to: HostStatus },
}

/// The record as this client knows it.
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
    /// Subscribes to all broadcasts, then lists the record. The listed records do not count as
    /// changes.
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

    /// Waits for the next change of the record, and returns it.
    ///
    /// # Errors
    /// If the connection is closed, a broadcast is invalid, or a list request fails.
    pub(crate) async fn next_change(&mut self, client: &Client) -> Result<Change> {
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
            self.apply(client, &message).await.with_context(text)?;
        }
    }

    async fn apply(&mut self, client: &Client, message: &Message) -> Result<()> {
        match message.subject.as_str() {
            subjects::SHARDS_UPDATED => {
                let broadcast: ShardsUpdated = serde_json::from_slice(&message.payload)?;
                match check_revision(&mut self.revisions.shards, &broadcast) {
                    RevisionOrder::Next => {
                        self.update_shards(broadcast.updated);
                        for removed in broadcast.removed {
                            self.remove_shard(
                                &(removed.host_uuid, removed.decky_id),
                                removed.revision,
                            );
                        }
                    }
                    RevisionOrder::Known => {}
                    RevisionOrder::Gap => self.list_shards(client).await?,
                }
            }
            subjects::OPERATIONS_UPDATED => {
                let broadcast: OperationsUpdated = serde_json::from_slice(&message.payload)?;
                match check_revision(&mut self.revisions.operations, &broadcast) {
                    RevisionOrder::Next => self.update_operations(broadcast.updated),
                    RevisionOrder::Known => {}
                    RevisionOrder::Gap => self.list_operations(client).await?,
                }
            }
            _ => {
                let broadcast: HostsUpdated = serde_json::from_slice(&message.payload)?;
                match check_revision(&mut self.revisions.hosts, &broadcast) {
                    RevisionOrder::Next => self.update_hosts(broadcast.updated),
                    RevisionOrder::Known => {}
                    RevisionOrder::Gap => self.list_hosts(client).await?,
                }
            }
        }
        Ok(())
    }

    async fn list_shards(&mut self, client: &Client) -> Result<()> {
        let (revision, listed) = client.list_shards_paged(1000).await?;
        self.revisions.shards = revision;
        let listed_keys: BTreeSet<Shard> = listed.iter().map(key).collect();
        let removed: Vec<Shard> = (self.shards.keys())
            .filter(|shard| !listed_keys.contains(*shard))
            .cloned()
            .collect();
        for shard in removed {
            self.remove_shard(&shard, revision);
        }
        self.update_shards(listed);
        Ok(())
    }

    async fn list_operations(&mut self, client: &Client) -> Result<()> {
        let request = json!({ "limit": 1000 });
        let page: OperationsList = client.request(subjects::OPERATIONS_LIST, &request).await?;
        self.revisions.operations = page.revision;
        self.update_operations(page.operations);
        Ok(())
    }

    async fn list_hosts(&mut self, client: &Client) -> Result<()> {
        let request = json!({ "limit": 1000 });
        let page: HostsList = client.request(subjects::HOSTS_LIST, &request).await?;
        self.revisions.hosts = page.revision;
        self.update_hosts(page.hosts);
        Ok(())
    }

    fn update_shards(&mut self, records: Vec<ShardRecord>) {
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

    fn remove_shard(&mut self, shard: &Shard, revision: u64) {
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

    fn update_operations(&mut self, records: Vec<OperationRecord>) {
        for record in records {
            let known = self.operations.insert(record.operation_id, record.clone());
            let from = known.map(|known| known.state);
            if from != Some(record.state) {
                let record = Box::new(record);
                self.changes.push_back(Change::Operation { from, record });
            }
        }
    }

    fn update_hosts(&mut self, records: Vec<HostRecord>) {
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

/// The relation of a broadcast's revision to the last known revision.
enum RevisionOrder {
    Next,
    Known,
    Gap,
}

/// Compares a broadcast's revision with `last`, the last known revision. If the broadcast is the
/// next one, advances `last`. After a gap, the caller must list the record, which also sets `last`.
fn check_revision(last: &mut u64, broadcast: &impl Broadcast) -> RevisionOrder {
    let revision = broadcast.revision();
    if revision <= *last {
        RevisionOrder::Known
    } else if revision == *last + 1 && !broadcast.is_repeat() {
        *last = revision;
        RevisionOrder::Next
    } else {
        RevisionOrder::Gap
    }
}
