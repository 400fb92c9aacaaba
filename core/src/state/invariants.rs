//! Conditions that hold for the state after every batch.
//!
//! Debug builds check every host that a batch has changed. Tests and the simulation check the
//! complete state.

use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{HostId, MAX_SHARDS_PER_HOST};

use crate::record::operation_state::is_open;
use crate::state::State;
use crate::state::identifiers::Identifiers;
use crate::state::stats::Stats;
use crate::state::timers::Timer;

/// The description of a broken invariant.
pub type Violation = String;

/// Checks one host with its shards and operations. A host that does not exist is valid.
pub fn check_host(state: &State, id: &HostId) -> Result<(), Violation> {
    let Some(host) = state.hosts.get(id) else {
        return Ok(());
    };
    let count = host.shards.len();
    ensure(count <= MAX_SHARDS_PER_HOST, || {
        format!("host {id} has {count} shards, more than {MAX_SHARDS_PER_HOST}")
    })?;
    ensure(host.is_active() || !host.row.protected, || {
        format!("host {id} is decommissioned, but still protected")
    })?;
    for (decky, shard) in &host.shards {
        let row = &shard.row;
        let holder = row.operation.and_then(|id| state.operations.get(&id));
        ensure(row.host == *id && row.decky == *decky, || {
            format!("shard {id}/{decky} is stored under the key of another shard")
        })?;
        ensure(row.revision <= state.meta.revisions.shards, || {
            let revision = row.revision;
            format!("shard {id}/{decky} has revision {revision}, which was never assigned")
        })?;
        ensure(row.registered <= row.revision, || {
            format!("shard {id}/{decky} changed before it was registered")
        })?;
        match row.state {
            ShardState::TearingDown => {
                let held = holder.is_some_and(|row| is_open(row.state) && row.host == *id);
                ensure(held, || {
                    format!("shard {id}/{decky} is tearing_down without an open operation")
                })?;
            }
            ShardState::TeardownFailed => {
                // The operation itself may have been removed by retention.
                ensure(row.operation.is_some() && row.last_error.is_some(), || {
                    format!("shard {id}/{decky} is teardown_failed without operation or error")
                })?;
            }
            _ => {}
        }
    }
    for operation in &host.operations {
        let row = state.operations.get(operation);
        ensure(row.is_some_and(|row| row.host == *id), || {
            format!("operation {operation} is indexed under host {id}, but belongs to another")
        })?;
    }
    for operation in &host.open_operations {
        let row = &state.operations[operation];
        ensure(is_open(row.state) && row.finished_at.is_none(), || {
            format!("operation {operation} is indexed as open, but has ended")
        })?;
        let timer = (row.deadline, Timer::Deadline(*operation));
        ensure(state.timers.contains(&timer), || {
            format!("operation {operation} is open, but has no timer")
        })?;
        ensure(host.deliveries.contains_key(operation), || {
            format!("operation {operation} is open, but its command is not delivered")
        })?;
    }
    let full_resend_at = host.full_resend_due_at;
    let is_resent = full_resend_at
        .is_some_and(|at| state.timers.contains(&(at, Timer::FullResend(id.clone()))));
    for (operation, delivery) in &host.deliveries {
        let retry_at = delivery.next_attempt_at();
        let is_retried =
            retry_at.is_some_and(|at| state.timers.contains(&(at, Timer::Retry(*operation))));
        let is_online = host.row.status == HostStatus::Online;
        let is_delivered = !is_online || delivery.is_received || is_retried || is_resent;
        ensure(is_delivered, || {
            format!("the command of operation {operation} is not acknowledged, but not sent again")
        })?;
    }
    let timer = |at| state.timers.contains(&(at, Timer::Liveness(id.clone())));
    let watched = host.last_heard.is_some() && host.liveness_check_at.is_some_and(timer);
    ensure(host.row.status != HostStatus::Online || watched, || {
        format!("host {id} is online, but no timer checks its heartbeats")
    })
}

/// Checks the complete state. Slow, because the check reads every row.
pub fn check_all(state: &State) -> Result<(), Violation> {
    for id in state.hosts.keys() {
        check_host(state, id)?;
    }
    for (id, row) in &state.operations {
        let host = state.hosts.get(&row.host);
        let indexed = host.is_some_and(|host| host.open_operations.contains(id));
        ensure(host.is_some() && indexed == is_open(row.state), || {
            format!("the index of open operations is wrong about operation {id}")
        })?;
    }
    let mut identifiers = Identifiers::default();
    for host in state.hosts.values().filter(|host| host.is_active()) {
        identifiers.insert(host.identity());
    }
    ensure(state.identifiers == identifiers, || {
        let index = &state.identifiers;
        format!(
            "the index of names and ids is {index:?}, but the active hosts give {identifiers:?}"
        )
    })?;
    let (stats, counted) = (state.stats(), count_rows(state));
    ensure(stats == counted, || {
        format!("the stats are {stats:?}, but counting all rows gives {counted:?}")
    })
}

/// Computes the statistics by counting every row.
fn count_rows(state: &State) -> Stats {
    let mut stats = Stats::default();
    for row in state.operations.values() {
        stats.operations[row.state as usize] += 1;
    }
    for host in state.hosts.values() {
        stats.hosts[host.row.status as usize] += 1;
        stats.quarantined_hosts += u64::from(host.quarantined);
        for shard in host.shards.values() {
            stats.shards[shard.row.state as usize] += 1;
        }
    }
    let mut open = state.operations.values().filter(|row| is_open(row.state));
    Stats {
        oldest_open_accepted_at: open.next().map(|row| row.accepted_at),
        next_deadline: state.next_deadline(),
        events: state.stats.events,
        ..stats
    }
}

fn ensure(holds: bool, describe: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(describe()) }
}
