//! Inserts and removes rows. Only these functions change the indexes of hosts and operations,
//! except for timers, so that the indexes always agree with the rows.

use std::sync::Arc;

use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::{OperationId, Timestamp};

use crate::record::operation_state::is_open;
use crate::record::rows::{HostRow, OperationRow};
use crate::state::State;
use crate::state::host::Host;
use crate::state::late_announcements::MAX_LATENESS_MS;
use crate::state::timers::Timer;

/// Changes to the rows in memory, for both replay and steps.
impl State {
    pub(crate) fn insert_host(&mut self, row: HostRow) {
        let before = self.hosts.get(&row.host).map(|host| &host.row);
        if let Some(before) = before {
            self.identifiers.remove(before.into());
        }
        if row.status != HostStatus::Decommissioned {
            self.identifiers.insert((&row).into());
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
        let had_deadline = before.as_ref().is_some_and(|before| before.needs_command());
        if had_deadline != row.needs_command() {
            let timer = (row.deadline, Timer::Deadline(id));
            if had_deadline {
                self.timers.remove(&timer);
            } else {
                self.timers.insert(timer);
            }
        }
        if let Some(at) = before.as_ref().and_then(|before| before.finished_at) {
            self.ended_operations.remove(&(at, id));
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
        if row.needs_command() {
            let delivery = host.deliveries.entry(id).or_default();
            delivery.attempts = delivery.attempts.max(row.attempts);
        } else if let Some(mut delivery) = host.deliveries.remove(&id) {
            delivery.schedule(&mut self.timers, id, None);
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
        self.timers.remove(&(row.deadline, Timer::Deadline(id)));
        if let Some(at) = row.finished_at {
            self.ended_operations.remove(&(at, id));
        }
        self.stats.count_removed_operation(row.state);
        self.open_operations.remove(&id);
        if let Some(host) = self.hosts.get_mut(&row.host) {
            if let Some(mut delivery) = host.deliveries.remove(&id) {
                delivery.schedule(&mut self.timers, id, None);
            }
            host.operations.remove(&id);
            host.open_operations.remove(&id);
            host.running_operations.remove(&id);
        }
    }
}

/// Changes by steps, to both the rows in memory and the batch. (For shards, see
/// `broadcast::shard_changes`.)
impl State {
    /// Puts a host's row, and announces the host.
    pub(crate) fn put_host(&mut self, row: HostRow) {
        self.batch.announce_host(&row.host);
        self.put_host_silently(row);
    }

    /// Puts a host's row that a report of its agent has changed. Announces the host now, or late if
    /// the last announcement is too recent. So an agent whose reports change all the time does not
    /// flood the subscribers.
    pub(crate) fn put_reported_host(&mut self, now: Timestamp, row: HostRow) {
        let host = self.hosts.get(&row.host);
        let announced_at = host.and_then(|host| host.announced_at);
        match announced_at.map(|at| at.plus_millis(MAX_LATENESS_MS)) {
            Some(earliest) if earliest > now => self.batch.recount_host(&row.host),
            _ => self.batch.announce_host(&row.host),
        }
        self.put_host_silently(row);
    }

    fn put_host_silently(&mut self, row: HostRow) {
        let id = row.host.clone();
        self.insert_host(row);
        if let Some(host) = self.hosts.get_mut(&id) {
            host.row_unsaved = true;
        }
        self.batch.mark_host_changed(&id);
    }

    /// Puts an operation's row, and announces the operation. The row gets the current count of
    /// attempts, which does not cause a change of the row by itself.
    pub(crate) fn put_operation(&mut self, mut row: OperationRow) {
        if let Some(delivery) = self.find_delivery(&row) {
            row.attempts = delivery.attempts;
        }
        let row = Arc::new(row);
        if self.insert_operation(&row) {
            self.batch.recount_host(&row.host);
        }
        self.batch.mark_host_changed(&row.host);
        self.batch.operations.insert(row.id, row);
    }
}
