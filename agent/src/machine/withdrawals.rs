//! Withdrawals (`cancel_command`): an operation that was not begun is not begun any more, not even by a
//! late copy of its command, nor after a restart.

use std::collections::BTreeSet;

use scuttle_schemas::teardown::MAX_TIMEOUT_S;
use scuttle_schemas::{OperationId, Timestamp};

use super::{Ignored, Machine, Note, Now, Step};
use crate::ledger::Entry;

/// How long after its acceptance, in milliseconds, no copy of a command is begun any more: the longest
/// time that a teardown can be given, and twice what clocks may differ by.
const KEPT_MS: i64 = MAX_TIMEOUT_S as i64 * 1000 + 120_000;

/// The most withdrawals that are kept: more than a host has operations in a day. The oldest go first.
const MOST: usize = 16_384;

/// The operations that were withdrawn, by id, which is by age.
#[derive(Debug, Default)]
pub(super) struct Withdrawn(BTreeSet<OperationId>);

impl Withdrawn {
    /// From the ledger, at start.
    pub(super) fn restore(&mut self, operation_id: OperationId) {
        self.0.insert(operation_id);
    }

    pub(super) fn has(&self, operation_id: OperationId) -> bool {
        self.0.contains(&operation_id)
    }

    /// Drops those whose command can come no more.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        self.0
            .retain(|id| now.millis_since(accepted_at(*id)) <= KEPT_MS);
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.0
            .iter()
            .map(|id| Entry::Withdrawn { operation_id: *id })
    }
}

/// An operation's id says when it was accepted: a `UUIDv7` has its milliseconds above this bit.
fn accepted_at(id: OperationId) -> Timestamp {
    const MILLISECONDS: u32 = 80;
    Timestamp::from_millis((id.0.as_u128() >> MILLISECONDS) as i64)
}

impl Machine {
    pub(super) fn withdraw(&mut self, now: Now, operation_id: OperationId, step: &mut Step) {
        if self.results.has(operation_id) {
            step.note(Note::Ignored(Ignored::TooLate(operation_id)));
            self.results.tell_again(operation_id, now);
        } else if self.commands.drop_unless_begun(operation_id) {
            step.note(Note::Ignored(Ignored::TooLate(operation_id)));
            if self.commands.running() == Some(operation_id) {
                self.tell_started(now, step);
            }
        } else if self.withdrawn.0.insert(operation_id) {
            if self.withdrawn.0.len() > MOST {
                self.withdrawn.0.pop_first();
            }
            step.writes.push(Entry::Withdrawn { operation_id });
            step.note(Note::Withdrawn(operation_id));
        }
    }
}
