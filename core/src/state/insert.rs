//! The functions that put rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use scuttle_schemas::OperationId;
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::OperationState;

use crate::record::operation_state::is_open;
use crate::record::rows::{HostRow, OperationRow};
use crate::state::State;
use crate::state::host::Host;
use crate::state::inventory::Inventory;
use crate::state::timers::Timer;

/// Rows into memory: what replay and the steps below share.
impl State {
    pub(crate) fn insert_host(&mut self, row: HostRow) {
        if row.status != HostStatus::Decommissioned {
            self.names.insert(row.name.clone(), row.host.clone());
        } else if self.names.get(&row.name) == Some(&row.host) {
            self.names.remove(&row.name);
        }
        let before = self.hosts.get(&row.host).map(|host| host.row.status);
        self.stats.host(before, row.status);
        if let Some(host) = self.hosts.get_mut(&row.host) {
            host.row = row;
            return;
        }
        let host = Host {
            row,
            unsaved: false,
            shards: BTreeMap::new(),
            operations: BTreeSet::new(),
            open: BTreeSet::new(),
            running: BTreeSet::new(),
            progress: None,
            heard: None,
            watched: None,
            met: false,
            inventory: Inventory::default(),
            seen: None,
        };
        self.hosts.insert(host.row.host.clone(), Box::new(host));
    }

    /// Puts an operation's row; answers whether its host now has another number of open ones.
    pub(crate) fn insert_operation(&mut self, row: &Arc<OperationRow>) -> bool {
        let id = row.id;
        let before = self.operations.insert(id, Arc::clone(row));
        if let Some(before) = &before {
            self.forget_times(before);
        }
        let was = before.as_ref().map(|before| before.state);
        self.stats.operation(was, row.state);
        if is_open(row.state) {
            self.open.insert(id);
        } else {
            self.open.remove(&id);
        }
        let Some(host) = self.hosts.get_mut(&row.host) else {
            return false;
        };
        if before.is_none() {
            host.operations.insert(id);
            host.inventory.accepted_since.insert(id);
        }
        if let Some(at) = row.wakes_at() {
            self.timers.insert((at, Timer::Operation(id)));
        }
        if let Some(at) = row.finished_at {
            self.ended.insert((at, id));
        }
        if row.state == OperationState::Running {
            host.running.insert(id);
        } else {
            host.running.remove(&id);
        }
        if is_open(row.state) {
            host.open.insert(id)
        } else {
            host.inventory.accepted_since.remove(&id);
            host.open.remove(&id)
        }
    }

    pub(crate) fn delete_operation(&mut self, id: OperationId) {
        let Some(row) = self.operations.remove(&id) else {
            return;
        };
        self.forget_times(&row);
        self.stats.operation_removed(row.state);
        self.open.remove(&id);
        if let Some(host) = self.hosts.get_mut(&row.host) {
            host.operations.remove(&id);
            host.open.remove(&id);
            host.running.remove(&id);
        }
    }

    fn forget_times(&mut self, row: &OperationRow) {
        if let Some(at) = row.wakes_at() {
            self.timers.remove(&(at, Timer::Operation(row.id)));
        }
        if let Some(at) = row.finished_at {
            self.ended.remove(&(at, row.id));
        }
    }
}

/// Changes of a step: into memory, and noted for the commit.
impl State {
    /// Puts a host's row; operators are told.
    pub(crate) fn put_host(&mut self, row: HostRow) {
        let id = row.host.clone();
        self.insert_host(row);
        if let Some(host) = self.hosts.get_mut(&id) {
            host.unsaved = true;
        }
        self.batch.tell(&id);
        self.batch.touch(&id);
    }

    /// Puts an operation's row; operators are told.
    pub(crate) fn put_operation(&mut self, row: OperationRow) {
        let row = Arc::new(row);
        if self.insert_operation(&row) {
            self.batch.tell(&row.host);
        }
        self.batch.touch(&row.host);
        self.batch.operations.insert(row.id, (row, true));
    }

    /// Puts an operation's row whose change operators do not see.
    pub(crate) fn keep_operation(&mut self, row: OperationRow) {
        let row = Arc::new(row);
        self.insert_operation(&row);
        let told = |(_, told): &(_, bool)| *told;
        let told = self.batch.operations.get(&row.id).is_some_and(told);
        self.batch.operations.insert(row.id, (row, told));
    }
}
