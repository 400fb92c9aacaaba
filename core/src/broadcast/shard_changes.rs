//! Broadcasts: who gives out revisions, and how a large change becomes several messages.

use std::sync::Arc;

use scuttle_schemas::shards::{RemovedShard, ShardState};
use scuttle_schemas::{DeckyId, HostId, Timestamp};

use crate::broadcast::size_bounds::Bounded;
use crate::record::change::Change;
use crate::record::rows::{OperationRow, ShardRow};
use crate::state::State;
use crate::state::host::{insert_shard, remove_shard};

impl State {
    /// Puts and removes shards of one host, and tells it: the one way in which a shard changes.
    ///
    /// One message tells what several steps of a batch put, so that a thousand teardowns a moment are a
    /// few messages for whoever listens. A removal is always told with its own operation, a traced change
    /// with its own trace, and a registration in a message of its own, whose revision is told apart from
    /// those of operations that were accepted before.
    pub(crate) fn change_shards(
        &mut self,
        now: Timestamp,
        id: &HostId,
        cause: Option<&OperationRow>,
        put: Vec<ShardRow>,
        removed: Vec<DeckyId>,
    ) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        if put.is_empty() && removed.is_empty() {
            return;
        }
        let seen = host.seen;
        let (batch, revision) = (&mut self.batch, &mut self.meta.revisions.shards);
        batch.touch(id);
        let new = |row: &ShardRow| !host.shards.contains_key(&row.decky);
        let traced = cause.is_some_and(|row| row.trace.is_some());
        let alone = traced || !removed.is_empty() || put.iter().any(new);
        // A shard that this message tells already needs another: one revision has one content.
        let twice = |row: &ShardRow| {
            let told = host.shards.get(&row.decky).map(|shard| shard.row.revision);
            told == Some(*revision)
        };
        if alone || put.iter().any(twice) {
            batch.end_message();
        }
        for mut row in put {
            let message = batch.message(now, revision, cause, row.most_bytes());
            (row.updated_at, row.revision) = (now, message.revision);
            let row = Arc::new(row);
            let (shard, new) = insert_shard(&mut host.shards, &mut self.stats, Arc::clone(&row));
            // Its agent may not list it for a long time already, and says so again only when asked: a failure must not
            // outlast what failed.
            host.inventory.wanted |= row.state == ShardState::TeardownFailed && !shard.listed;
            message.updated.push(shard.record(&host.row, seen));
            batch.changes.push(Change::Shard(row));
            if new {
                batch.tell(id);
            }
        }
        for decky in removed {
            let message = batch.message(now, revision, cause, decky.most_bytes());
            message.removed.push(RemovedShard {
                host_uuid: id.clone(),
                decky_id: decky.clone(),
                revision: message.revision,
            });
            remove_shard(&mut host.shards, &mut self.stats, &decky);
            batch.tell(id);
            let host = id.clone();
            batch.changes.push(Change::ShardRemoved { host, decky });
        }
        if alone {
            batch.end_message();
        }
        self.beacons.shards_told(now);
    }
}
