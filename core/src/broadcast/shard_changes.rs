//! Changes to shards. Every change to a shard that a step announces is made by the function in this
//! file.

use std::sync::Arc;

use scuttle_schemas::shards::{RemovedShard, ShardState};
use scuttle_schemas::{DeckyId, HostId, Timestamp};

use crate::api::Topic;
use crate::broadcast::size_bounds::SizeBound;
use crate::record::change::Change;
use crate::record::rows::{OperationRow, ShardRow};
use crate::state::State;
use crate::state::host::{insert_shard, remove_shard};

/// Changes to the shards of one host.
pub(crate) struct ShardChanges<'c> {
    pub(crate) host: &'c HostId,
    /// The operation that causes the changes, or `None` if an inventory or a forced decommissioning
    /// does.
    pub(crate) cause: Option<&'c OperationRow>,
    pub(crate) put: Vec<ShardRow>,
    pub(crate) removed: Vec<DeckyId>,
}

impl State {
    /// Puts and removes shards, and announces the changes on `shards.updated`. Sets the fields
    /// `updated_at` and `revision` of the rows that are put.
    ///
    /// Changes from several steps of a batch share a message, so that a thousand simultaneous
    /// teardowns cause only a few messages for each subscriber. The following changes each get a
    /// separate message:
    ///
    /// - a removal, so that the message names the operation that caused the removal;
    /// - a change with a trace context, which is a header of the whole message;
    /// - a registration, so that its revision is greater than the `covers_until` of every operation
    ///   that was accepted earlier.
    pub(crate) fn change_shards(&mut self, now: Timestamp, changes: ShardChanges<'_>) {
        let ShardChanges {
            host: id,
            cause,
            put,
            removed,
        } = changes;
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        if put.is_empty() && removed.is_empty() {
            return;
        }
        let inventory_seen_at = host.inventory_seen_at;
        let (batch, revision) = (&mut self.batch, &mut self.meta.revisions.shards);
        batch.mark_host_changed(id);
        let is_new = |row: &ShardRow| {
            let known = host.shards.get(&row.decky);
            known.is_none_or(|shard| shard.row.registered != row.registered)
        };
        let has_trace = cause.is_some_and(|row| row.trace.is_some());
        let needs_own_message = has_trace || !removed.is_empty() || put.iter().any(is_new);
        // A second change of the same shard needs another revision.
        let is_in_open_message = |row: &ShardRow| {
            let shard = host.shards.get(&row.decky);
            shard.map(|shard| shard.row.revision) == Some(*revision)
        };
        if needs_own_message || put.iter().any(is_in_open_message) {
            batch.close_message();
        }
        for mut row in put {
            let message = batch.message_for(now, revision, cause, row.max_json_bytes());
            (row.updated_at, row.revision) = (now, message.revision);
            let row = Arc::new(row);
            let (shard, is_new) = insert_shard(&mut host.shards, &mut self.stats, Arc::clone(&row));
            // The agent may have stopped listing the decky long ago, and lists its deckies again
            // only on request. Without a new inventory, the failed shard would stay in the record
            // forever.
            host.inventory.is_requested |= row.state == ShardState::TeardownFailed && !shard.listed;
            if row.unreported_since().is_some() {
                host.inventory.record_unreported(now);
            }
            message
                .updated
                .push(shard.to_record(&host.row, inventory_seen_at));
            batch.changes.push(Change::Shard(row));
            if is_new {
                batch.recount_host(id);
            }
        }
        for decky in removed {
            let message = batch.message_for(now, revision, cause, decky.max_json_bytes());
            message.removed.push(RemovedShard {
                host_uuid: id.clone(),
                decky_id: decky.clone(),
                revision: message.revision,
            });
            remove_shard(&mut host.shards, &mut self.stats, &decky);
            batch.recount_host(id);
            let host = id.clone();
            batch.changes.push(Change::ShardRemoved { host, decky });
        }
        if needs_own_message {
            batch.close_message();
        }
        self.idle_repeats.mark_published(Topic::Shards, now);
    }
}
