//! `agent.<host_uuid>.progress`: any step of a living boot says that the operation was begun.

use scuttle_schemas::agents::TeardownProgress;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::{HostId, Timestamp};

use crate::record::operation_state::Event;
use crate::record::rows::OperationRow;
use crate::state::State;
use crate::state::host::Progress;

impl State {
    /// Moves a queued operation to `running`. What belongs to another host, is unknown, has ended, or
    /// comes from an older boot of the agent changes nothing.
    pub(crate) fn progress(&mut self, now: Timestamp, from: &HostId, progress: &TeardownProgress) {
        let Some(host) = self.hosts.get_mut(from) else {
            return;
        };
        if host
            .row
            .applied
            .is_some_and(|applied| progress.boot_id < applied.boot)
        {
            self.stats.events.stale_reports += 1;
            return;
        }
        let Some(row) = self.operations.get(&progress.operation_id) else {
            return;
        };
        if row.host != *from {
            return;
        }
        host.progress = Some(Progress {
            operation: row.id,
            step: in_words(progress),
            said_at: now,
        });
        if row.state == OperationState::Queued {
            let mut row = OperationRow::clone(row);
            if row.take(Event::Started, now).is_ok() {
                self.put_operation(row);
            }
        }
    }
}

fn in_words(progress: &TeardownProgress) -> String {
    let step = progress.step.as_str();
    match (progress.done, progress.total) {
        (Some(done), Some(total)) => format!("{step}, {done} of {total} deckies done"),
        _ => step.to_owned(),
    }
}
