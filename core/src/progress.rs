//! `agent.<host_uuid>.progress`: any step of a living boot says that the operation was begun.

use scuttle_schemas::HostId;
use scuttle_schemas::agents::TeardownProgress;
use scuttle_schemas::operations::OperationState;

use crate::operation::{Event, next_state};
use crate::rows::OperationRow;
use crate::state::State;

impl State {
    /// Moves a queued operation to `running`. What belongs to another host, is unknown, has ended, or
    /// comes from an older boot of the agent changes nothing.
    pub(crate) fn progress(&mut self, from: &HostId, progress: &TeardownProgress) {
        let Some(host) = self.hosts.get(from) else {
            return;
        };
        if host
            .row
            .applied
            .is_some_and(|applied| progress.boot_id < applied.boot)
        {
            return;
        }
        let Some(row) = self.operations.get(&progress.operation_id) else {
            return;
        };
        if row.host != *from || row.state != OperationState::Queued {
            return;
        }
        if let Ok(state) = next_state(row.state, Event::Started) {
            let row = OperationRow {
                state,
                ..OperationRow::clone(row)
            };
            self.put_operation(row);
        }
    }
}
