//! A subscriber to `shards.updated` that keeps a view of all shards, as the protocol prescribes:
//! list once, apply every broadcast, and list again after a gap in the revisions.

use std::collections::BTreeMap;

use anyhow::Result;
use scuttle_schemas::shards::{ShardRecord, ShardsUpdated};
use scuttle_schemas::{DeckyId, HostId};

use crate::clients::broadcasts::{Broadcast, Broadcasts};
use crate::clients::client::Client;

/// The latest known change of one shard.
#[derive(Debug)]
enum Entry {
    Present(Box<ShardRecord>),
    /// The shard was removed with this revision.
    Removed(u64),
}

impl Entry {
    fn revision(&self) -> u64 {
        match self {
            Self::Present(record) => record.revision,
            Self::Removed(revision) => *revision,
        }
    }
}

/// A view of all shards that follows the broadcasts.
#[derive(Debug)]
pub struct ReplicaView<'a> {
    client: &'a Client,
    updates: Broadcasts<ShardsUpdated>,
    page_size: u16,
    shards: BTreeMap<(HostId, DeckyId), Entry>,
    revision: u64,
    /// The revision on the first page of the last listing.
    listed_revision: u64,
    listings: usize,
}

impl<'a> ReplicaView<'a> {
    /// Subscribes to the broadcasts, and then lists all shards in pages of `page_size` records.
    pub async fn open(client: &'a Client, page_size: u16) -> Result<Self> {
        let mut view = Self {
            client,
            updates: Broadcasts::subscribe(client).await?,
            page_size,
            shards: BTreeMap::new(),
            revision: 0,
            listed_revision: 0,
            listings: 0,
        };
        view.list().await?;
        Ok(view)
    }

    /// Applies broadcasts until the view has reached `revision`.
    pub async fn follow_until(&mut self, revision: u64) -> Result<()> {
        while self.revision < revision {
            let update = self.updates.next().await?.message;
            self.apply(update).await?;
        }
        Ok(())
    }

    /// Waits for the next message that contains a new change, and drops the message to simulate its
    /// loss.
    pub async fn drop_next_change(&mut self) -> Result<()> {
        let known = self.revision;
        let is_new = |update: &ShardsUpdated| !update.is_repeat() && update.revision > known;
        self.updates.wait_for("a change to drop", is_new).await?;
        Ok(())
    }

    /// Returns the shards in the view, sorted by host and decky as in a listing.
    pub fn shards(&self) -> Vec<ShardRecord> {
        let present = |entry: &Entry| match entry {
            Entry::Present(record) => Some((**record).clone()),
            Entry::Removed(_) => None,
        };
        self.shards.values().filter_map(present).collect()
    }

    /// Returns the number of listings so far: one at the start, and one for each gap.
    pub fn listings(&self) -> usize {
        self.listings
    }

    async fn apply(&mut self, update: ShardsUpdated) -> Result<()> {
        // The listing contains this change. Applied late, it would bring back shards that the
        // listing no longer had.
        if update.revision <= self.listed_revision {
            return Ok(());
        }
        // A message without changes repeats the last revision: if that is higher than ours, a
        // message is missing too.
        let has_gap = update.revision > self.revision + u64::from(!update.is_repeat());
        for record in update.updated {
            self.insert_newer(
                Entry::Present(Box::new(record.clone())),
                record.host_uuid,
                record.decky_id,
            );
        }
        for removed in update.removed {
            self.insert_newer(
                Entry::Removed(removed.revision),
                removed.host_uuid,
                removed.decky_id,
            );
        }
        if has_gap {
            self.list().await?;
        }
        self.revision = self.revision.max(update.revision);
        Ok(())
    }

    async fn list(&mut self) -> Result<()> {
        let (revision, listed) = self.client.list_shards_paged(self.page_size).await?;
        let key = |record: &ShardRecord| (record.host_uuid.clone(), record.decky_id.clone());
        let keys: Vec<_> = listed.iter().map(key).collect();
        for record in listed {
            let (host, decky) = key(&record);
            self.insert_newer(Entry::Present(Box::new(record)), host, decky);
        }
        self.shards.retain(|key, entry| {
            let is_older = matches!(entry, Entry::Present(_)) && entry.revision() < revision;
            !is_older || keys.binary_search(key).is_ok()
        });
        self.revision = self.revision.max(revision);
        self.listed_revision = revision;
        self.listings += 1;
        Ok(())
    }

    fn insert_newer(&mut self, entry: Entry, host: HostId, decky: DeckyId) {
        let key = (host, decky);
        if self
            .shards
            .get(&key)
            .is_none_or(|known| known.revision() < entry.revision())
        {
            self.shards.insert(key, entry);
        }
    }
}

/// Replaces `last_seen` with `updated_at`, so that two listings can be compared. The controller
/// changes `last_seen` without a broadcast.
pub fn clear_last_seen(mut shards: Vec<ShardRecord>) -> Vec<ShardRecord> {
    for shard in &mut shards {
        shard.last_seen = shard.updated_at;
    }
    shards
}

/// Replaces `last_seen` with `updated_at` and sets every revision to 0, so that two listings of a
/// swarm with several partitions can be compared. In such a swarm, a listing gives its own revision
/// to the records of all partitions except the first.
pub fn clear_revisions(shards: Vec<ShardRecord>) -> Vec<ShardRecord> {
    let without_revision = |shard| ShardRecord {
        revision: 0,
        ..shard
    };
    clear_last_seen(shards)
        .into_iter()
        .map(without_revision)
        .collect()
}
