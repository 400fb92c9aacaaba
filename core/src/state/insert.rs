//! Inserts and removes rows. Only these functions change the indexes of hosts and operations,
//! except for timers, so that the indexes always agree with the rows.

use std::sync::Arc;

use scuttle_schemas::OperationId;
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::OperationState;

use crate::record::operation_state::is_open;
use crate::record::rows::{HostRow, OperationRow};
use crate::state::State;
use crate::state::batch::ChangedOperation;
use crate::state::host::Host;
use crate::state::timers::Timer;

/// Changes to the rows in memory, for both replay and steps.
impl State {
    pub(crate) fn insert_host(&mut self, row: HostRow) {
        let before = self.hosts.get(&row.host).map(|host| &host.row);
        if let Some(before) = before
            && self.host_ids_by_name.get(&before.name) == Some(&row.host)
        {
            self.host_ids_by_name.remove(&before.name);
        }
        if row.status != HostStatus::Decommissioned {
            let (name, id) = (row.name.clone(), row.host.clone());
            self.host_ids_by_name.insert(name, id);
        }
        self.stats
            .count_host(before.map(|before| before.status), row.status);
        if let Some(host) = self.hosts.get_mut(&row.host) {
            host.row = row;
            return;
        }
        let id = row.host.clone();
        self.hosts.insert(id, Box::new(Host::new(row)));
    }

    /// Inserts or replaces an operation. Returns whether the number of open operations of its host
    /// has changed.
    pub(crate) fn insert_operation(&mut self, row: &Arc<OperationRow>) -> bool {
        let id = row.id;
        let before = self.operations.insert(id, Arc::clone(row));
        if let Some(before) = &before {
            self.remove_times(before);
        }
        let state_before = before.as_ref().map(|before| before.state);
        self.stats.count_operation(state_before, row.state);
        if is_open(row.state) {
            self.open_operations.insert(id);
        } else {
            self.open_operations.remove(&id);
        }
        let Some(host) = self.hosts.get_mut(&row.host) else {
            return false;
        };
        if before.is_none() {
            host.operations.insert(id);
            host.inventory.record_accepted(id);
        }
        if let Some(at) = row.next_wake_at() {
            self.timers.insert((at, Timer::Operation(id)));
        }
        if let Some(at) = row.finished_at {
            self.ended_operations.insert((at, id));
        }
        if row.state == OperationState::Running {
            host.running_operations.insert(id);
        } else {
            host.running_operations.remove(&id);
        }
        if is_open(row.state) {
            host.open_operations.insert(id)
        } else {
            host.inventory.record_ended(id);
            host.open_operations.remove(&id)
        }
    }

    pub(crate) fn remove_operation(&mut self, id: OperationId) {
        let Some(row) = self.operations.remove(&id) else {
            return;
        };
        self.remove_times(&row);
        self.stats.count_removed_operation(row.state);
        self.open_operations.remove(&id);
        if let Some(host) = self.hosts.get_mut(&row.host) {
            host.operations.remove(&id);
            host.open_operations.remove(&id);
            host.running_operations.remove(&id);
        }
    }

    /// Removes an operation's row from the indexes that are sorted by time.
    fn remove_times(&mut self, row: &OperationRow) {
        if let Some(at) = row.next_wake_at() {
            self.timers.remove(&(at, Timer::Operation(row.id)));
        }
        if let Some(at) = row.finished_at {
            self.ended_operations.remove(&(at, row.id));
        }
    }
}

/// Changes by steps, to both the rows in memory and the batch. (For shards, see
/// `broadcast::shard_changes`.)
impl State {
    /// Puts a host's row, and announces the host.
    pub(crate) fn put_host(&mut self, row: HostRow) {
        let id = row.host.clone();
        self.insert_host(row);
        if let Some(host) = self.hosts.get_mut(&id) {
            host.row_unsaved = true;
        }
        self.batch.announce_host(&id);
        self.batch.mark_host_changed(&id);
    }

    /// Puts an operation's row, and announces the operation.
    pub(crate) fn put_operation(&mut self, row: OperationRow) {
        let row = Arc::new(row);
        if self.insert_operation(&row) {
            self.batch.announce_host(&row.host);
        }
        self.batch.mark_host_changed(&row.host);
        let id = row.id;
        let changed = ChangedOperation {
            row,
            announce: true,
        };
        self.batch.operations.insert(id, changed);
    }

    /// Puts an operation's row without announcing the operation, for changes that operators do not
    /// see.
    pub(crate) fn put_operation_silently(&mut self, row: OperationRow) {
        let row = Arc::new(row);
        self.insert_operation(&row);
        let id = row.id;
        let earlier = self.batch.operations.get(&id);
        let announce = earlier.is_some_and(|changed| changed.announce);
        let changed = ChangedOperation { row, announce };
        self.batch.operations.insert(id, changed);
    }
}
