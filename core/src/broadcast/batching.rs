//! Batching: the changes of several steps share one message, up to the size limit.

use scuttle_schemas::Timestamp;
use scuttle_schemas::shards::{ShardsUpdated, ShardsUpdatedType};

use crate::api::Effect;
use crate::broadcast::size_bounds::SizeBound;
use crate::record::rows::OperationRow;
use crate::state::batch::{Batch, OpenMessage};

impl Batch {
    /// Reserves `bytes` for a change in the open `shards.updated` message, and returns the message.
    ///
    /// Opens a new message with the next revision if no message is open, or if the open message has
    /// too little space left. A message whose changes have different causes has no `operation_id`.
    pub(crate) fn message_for(
        &mut self,
        now: Timestamp,
        revision: &mut u64,
        cause: Option<&OperationRow>,
        bytes: usize,
    ) -> &mut ShardsUpdated {
        let open = self.open_message.as_ref();
        if open.is_some_and(|open| open.free_bytes < bytes) {
            self.close_message();
        }
        let operation_id = cause.map(|row| row.id);
        let free_bytes = self.limits.broadcast_bytes();
        let open = self.open_message.get_or_insert_with(|| {
            *revision += 1;
            OpenMessage {
                message: ShardsUpdated {
                    kind: ShardsUpdatedType,
                    revision: *revision,
                    at: now,
                    operation_id,
                    updated: Vec::new(),
                    removed: Vec::new(),
                },
                trace: cause.and_then(|row| row.trace.clone()),
                free_bytes,
            }
        });
        open.free_bytes = open.free_bytes.saturating_sub(bytes);
        if open.message.operation_id != operation_id {
            open.message.operation_id = None;
        }
        &mut open.message
    }

    /// Closes the open message, if there is one, so that no more changes are added to it.
    pub(crate) fn close_message(&mut self) {
        let message = self.open_message.take();
        let effect = message.map(|open| Effect::ShardsUpdated(open.message, open.trace));
        self.effects.extend(effect);
    }
}

/// Removes as many records from the front as fit into one broadcast with `free_bytes` for records,
/// but at least one, and returns them.
pub(crate) fn take_fitting<T: SizeBound>(records: &mut Vec<T>, mut free_bytes: usize) -> Vec<T> {
    let fitting = records.iter();
    let fitting = fitting.take_while(|record| record.try_reserve(&mut free_bytes));
    let count = fitting.count().max(1).min(records.len());
    let rest = records.split_off(count);
    std::mem::replace(records, rest)
}
