//! How changes become messages.

use scuttle_schemas::shards::{ShardsUpdated, ShardsUpdatedType};
use scuttle_schemas::{MAX_BROADCAST_BYTES, Timestamp};

use crate::broadcast::size_bounds::{Bounded, ENVELOPE_BYTES};
use crate::record::rows::OperationRow;
use crate::state::batch::{Batch, Telling};

/// Takes as many items off the front as fit into what is left of `budget`.
pub(crate) fn take_fitting<T: Bounded>(items: &mut Vec<T>, budget: &mut usize) -> Vec<T> {
    let fitting = items.iter().take_while(|item| item.fits(budget)).count();
    let rest = items.split_off(fitting);
    std::mem::replace(items, rest)
}

impl Batch {
    /// The message for a change of one shard: the one begun, or a new one with the next revision where
    /// that is full. What belongs to several operations is told as no operation's.
    pub(crate) fn message(
        &mut self,
        now: Timestamp,
        revision: &mut u64,
        cause: Option<&OperationRow>,
        bytes: usize,
    ) -> &mut ShardsUpdated {
        if self.telling.as_ref().is_some_and(|told| told.room < bytes) {
            self.end_message();
        }
        let operation_id = cause.map(|row| row.id);
        let telling = self.telling.get_or_insert_with(|| {
            *revision += 1;
            Telling {
                message: ShardsUpdated {
                    kind: ShardsUpdatedType,
                    revision: *revision,
                    at: now,
                    operation_id,
                    updated: Vec::new(),
                    removed: Vec::new(),
                },
                trace: cause.and_then(|row| row.trace.clone()),
                room: MAX_BROADCAST_BYTES - ENVELOPE_BYTES,
            }
        });
        telling.room = telling.room.saturating_sub(bytes);
        if telling.message.operation_id != operation_id {
            telling.message.operation_id = None;
        }
        &mut telling.message
    }

    /// Ends the message that the batch still adds to.
    pub(crate) fn end_message(&mut self) {
        self.effects
            .extend(self.telling.take().map(Telling::into_effect));
    }
}
