//! A subscriber to `shards.updated` that keeps a view by the protocol's rule, "A view without gaps", and
//! by nothing else.

use std::collections::BTreeMap;

use anyhow::Result;
use scuttle_schemas::shards::{ShardRecord, ShardsUpdated};
use scuttle_schemas::{DeckyId, HostId};

use crate::clients::broadcasts::{Broadcast, Broadcasts};
use crate::clients::client::Client;

/// The highest revision that is known of one shard.
#[derive(Debug)]
enum Entry {
    There(Box<ShardRecord>),
    Gone(u64),
}

impl Entry {
    fn revision(&self) -> u64 {
        match self {
            Self::There(record) => record.revision,
            Self::Gone(revision) => *revision,
        }
    }
}

/// A view of all shards.
#[derive(Debug)]
pub struct View<'a> {
    client: &'a Client,
    updates: Broadcasts<ShardsUpdated>,
    page: u16,
    shards: BTreeMap<(HostId, DeckyId), Entry>,
    revision: u64,
    /// The revision of the last listing's first page.
    listed: u64,
    listings: usize,
}

impl<'a> View<'a> {
    /// Subscribes first, then pages through the list, `page` records at a time.
    ///
    /// # Errors
    /// The controller does not answer.
    pub async fn open(client: &'a Client, page: u16) -> Result<Self> {
        let mut view = Self {
            client,
            updates: Broadcasts::of(client).await?,
            page,
            shards: BTreeMap::new(),
            revision: 0,
            listed: 0,
            listings: 0,
        };
        view.list().await?;
        Ok(view)
    }

    /// Follows the broadcast until it has told this revision.
    ///
    /// # Errors
    /// The broadcast falls silent before.
    pub async fn reach(&mut self, revision: u64) -> Result<()> {
        while self.revision < revision {
            let told = self.updates.next().await?.message;
            self.apply(told).await?;
        }
        Ok(())
    }

    /// Loses the next message that tells something new, as a network might.
    ///
    /// # Errors
    /// None comes.
    pub async fn lose_one(&mut self) -> Result<()> {
        let known = self.revision;
        let new = |told: &ShardsUpdated| !told.is_repeat() && told.revision > known;
        self.updates.until("a change to lose", new).await?;
        Ok(())
    }

    /// The shards, in the order of a listing.
    pub fn shards(&self) -> Vec<ShardRecord> {
        let there = |entry: &Entry| match entry {
            Entry::There(record) => Some((**record).clone()),
            Entry::Gone(_) => None,
        };
        self.shards.values().filter_map(there).collect()
    }

    /// How often it has listed: once to begin with, and once for each gap.
    pub fn listings(&self) -> usize {
        self.listings
    }

    async fn apply(&mut self, told: ShardsUpdated) -> Result<()> {
        // The listing contains it: late, it would bring back what the listing no longer had.
        if told.revision <= self.listed {
            return Ok(());
        }
        // An empty message repeats the last revision, so another one than ours is missed, too.
        let missed = told.revision > self.revision + u64::from(!told.is_repeat());
        for record in told.updated {
            self.keep(
                Entry::There(Box::new(record.clone())),
                record.host_uuid,
                record.decky_id,
            );
        }
        for removed in told.removed {
            self.keep(
                Entry::Gone(removed.revision),
                removed.host_uuid,
                removed.decky_id,
            );
        }
        if missed {
            self.list().await?;
        }
        self.revision = self.revision.max(told.revision);
        Ok(())
    }

    async fn list(&mut self) -> Result<()> {
        let (revision, listed) = self.client.shards_paged(self.page).await?;
        let key = |record: &ShardRecord| (record.host_uuid.clone(), record.decky_id.clone());
        let keys: Vec<_> = listed.iter().map(key).collect();
        for record in listed {
            let (host, decky) = key(&record);
            self.keep(Entry::There(Box::new(record)), host, decky);
        }
        self.shards.retain(|key, entry| {
            let old = matches!(entry, Entry::There(_)) && entry.revision() < revision;
            !old || keys.binary_search(key).is_ok()
        });
        self.revision = self.revision.max(revision);
        self.listed = revision;
        self.listings += 1;
        Ok(())
    }

    fn keep(&mut self, entry: Entry, host: HostId, decky: DeckyId) {
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

/// Records without `last_seen`, which moves on without being told.
pub fn told(mut shards: Vec<ShardRecord>) -> Vec<ShardRecord> {
    for shard in &mut shards {
        shard.last_seen = shard.updated_at;
    }
    shards
}

/// The same without revisions: where the hosts are divided, a listing numbers the records anew.
pub fn unnumbered(shards: Vec<ShardRecord>) -> Vec<ShardRecord> {
    let unnumbered = |shard| ShardRecord {
        revision: 0,
        ..shard
    };
    told(shards).into_iter().map(unnumbered).collect()
}
