//! What must be true of the state after every batch, in words that a failing test can print.

use scuttle_schemas::HostId;
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::shards::ShardState;

use crate::record::operation_state::is_open;
use crate::state::State;
use crate::state::stats::Stats;
use crate::state::timers::Timer;

/// A broken invariant.
pub type Violation = String;

/// Checks one host and all that is keyed by it. Debug builds do so for every host that a batch touched.
///
/// # Errors
/// The first broken invariant.
pub fn check_host(state: &State, id: &HostId) -> Result<(), Violation> {
    let Some(host) = state.hosts.get(id) else {
        return Ok(());
    };
    for (decky, shard) in &host.shards {
        let row = &shard.row;
        let holder = row.operation.and_then(|id| state.operations.get(&id));
        ensure(row.host == *id && row.decky == *decky, || {
            format!("{id}/{decky} is stored under its own key")
        })?;
        ensure(row.revision <= state.meta.revisions.shards, || {
            format!(
                "{id}/{decky} has revision {}, which was not given out",
                row.revision
            )
        })?;
        ensure(row.registered <= row.revision, || {
            format!("{id}/{decky} was told when it was registered, or later")
        })?;
        match row.state {
            ShardState::TearingDown => ensure(
                holder.is_some_and(|row| is_open(row.state) && row.host == *id),
                || {
                    format!(
                        "{id}/{decky} is tearing_down, so an open operation of its host holds it"
                    )
                },
            )?,
            ShardState::TeardownFailed => {
                // Its operation may have been forgotten since.
                ensure(row.operation.is_some() && row.last_error.is_some(), || {
                    format!("{id}/{decky} is teardown_failed, so it has an operation and an error")
                })?;
            }
            _ => {}
        }
    }
    for operation in &host.operations {
        let row = state.operations.get(operation);
        ensure(row.is_some_and(|row| row.host == *id), || {
            format!("{operation} belongs to {id}")
        })?;
    }
    for operation in &host.open {
        let row = &state.operations[operation];
        ensure(is_open(row.state) && row.finished_at.is_none(), || {
            format!("{operation} is open")
        })?;
        ensure(
            state.timers.contains(&(
                row.wakes_at().unwrap_or(row.deadline),
                Timer::Operation(*operation),
            )),
            || format!("{operation} is open, so a timer will wake it"),
        )?;
    }
    let timer = |at| state.timers.contains(&(at, Timer::Liveness(id.clone())));
    let watched = host.heard.is_some() && host.watched.is_some_and(timer);
    ensure(host.row.status != HostStatus::Online || watched, || {
        format!("{id} is online, so its silence will be noticed")
    })
}

/// Checks everything: for tests.
///
/// # Errors
/// The first broken invariant.
pub fn check_all(state: &State) -> Result<(), Violation> {
    for id in state.hosts.keys() {
        check_host(state, id)?;
    }
    for (id, row) in &state.operations {
        let host = state.hosts.get(&row.host);
        ensure(
            host.is_some_and(|host| host.open.contains(id) == is_open(row.state)),
            || format!("{id} is among its host's open operations exactly while it is open"),
        )?;
    }
    for (name, id) in &state.names {
        let living = state
            .hosts
            .get(id)
            .is_some_and(|host| host.living() && host.row.name == *name);
        ensure(living, || {
            format!("the name {name} belongs to the living host {id}")
        })?;
    }
    let (stats, counted) = (state.stats(), counted(state));
    ensure(stats == counted, || {
        format!("the stats is {counted:?}, not {stats:?}")
    })
}

/// The same, counted row by row.
fn counted(state: &State) -> Stats {
    let mut stats = Stats::default();
    for row in state.operations.values() {
        stats.operations[row.state as usize] += 1;
    }
    for host in state.hosts.values() {
        stats.hosts[host.row.status as usize] += 1;
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

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if holds { Ok(()) } else { Err(what()) }
}
