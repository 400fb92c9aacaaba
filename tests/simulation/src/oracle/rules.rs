//! The rules for what is made durable: each change of a shard or an operation has a cause that the protocol
//! provides for, and that the oracle has seen.

use std::collections::{BTreeMap, BTreeSet};

use scuttle_core::{Change, HostRow, OperationRow, ShardRow};
use scuttle_schemas::agents::{ReportedOutcome, ResultOutcome};
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{DeckyId, HostId, OperationId};

use super::{
    BACK, Broken, EVIDENCE, LOST, OTHERS, Oracle, REVISIONS, Report, SEEN, ensure, index_of,
};
use crate::subscribers::told_part;

/// The states that operations come to in an append, which may hold several batches.
pub(super) type Ending = BTreeMap<OperationId, Vec<OperationState>>;

/// Whether an operation comes to a state like this.
fn comes_to(
    ending: &Ending,
    id: Option<OperationId>,
    like: impl Fn(OperationState) -> bool,
) -> bool {
    let states = id.and_then(|id| ending.get(&id));
    states.is_some_and(|states| states.iter().any(|state| like(*state)))
}

fn is_open(state: OperationState) -> bool {
    matches!(state, OperationState::Queued | OperationState::Running)
}

fn has_result(state: OperationState) -> bool {
    matches!(state, OperationState::Succeeded | OperationState::Failed)
}

/// A digest that tells contents apart (FNV-1a).
pub(super) fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A digest of what a row tells operators.
pub(super) fn digest_of_record(record: &impl serde::Serialize) -> u64 {
    let value = serde_json::to_value(record).unwrap_or_default();
    digest(&told_part(value).to_string())
}

fn digest_of_row(row: &ShardRow, host_name: &str, revision: u64) -> u64 {
    let value = serde_json::json!({
        "host_uuid": row.host, "host_name": host_name, "decky_id": row.decky,
        "decky_ip": row.ip, "services": row.services, "labels": row.labels, "state": row.state,
        "last_error": row.last_error, "operation_id": row.operation,
        "updated_at": row.updated_at, "revision": revision,
    });
    digest(&told_part(value).to_string())
}

impl Oracle {
    /// Which operations change their state, each in a way that the protocol knows.
    pub(super) fn ending(&self, changes: &[Change]) -> Result<Ending, Broken> {
        let mut ending = Ending::new();
        for change in changes {
            let Change::Operation(row) = change else {
                continue;
            };
            let stored = self.rows.operations.get(&row.id).map(|row| row.state);
            let states = ending.entry(row.id).or_default();
            let from = states.last().copied().or(stored);
            ensure(follows(from, row.state), SEEN, || {
                format!("operation {} goes from {from:?} to {:?}", row.id, row.state)
            })?;
            if from != Some(row.state) {
                states.push(row.state);
            }
            let known = self.rows.operations.get(&row.id);
            ensure(
                known.is_none_or(|known| known.host == row.host && known.decky == row.decky),
                OTHERS,
                || format!("operation {} is about something else now", row.id),
            )?;
            if row.state == OperationState::TimedOut && stored.is_some_and(is_open) {
                ensure(row.finished_at >= Some(row.deadline), SEEN, || {
                    format!("{} timed out before its deadline", row.id)
                })?;
            }
        }
        Ok(ending)
    }

    /// One change, and why it may be.
    pub(super) fn rule(
        &mut self,
        change: &Change,
        all: &[Change],
        ending: &Ending,
        at: u64,
    ) -> Result<(), Broken> {
        match change {
            Change::Meta(meta) => {
                let before = self.rows.meta;
                let (old, new) = (before.revisions, meta.revisions);
                let rises = meta.epoch >= before.epoch
                    && new.shards >= old.shards
                    && new.hosts >= old.hosts
                    && new.operations >= old.operations;
                ensure(rises, REVISIONS, || format!("from {before:?} to {meta:?}"))
            }
            Change::Shard(row) => self.shard_put(row, all, ending),
            Change::ShardRemoved { host, decky } => self.shard_removed(host, decky, all, ending),
            Change::Operation(row) => {
                if !self.rows.operations.contains_key(&row.id) {
                    self.accepted.insert(row.id, at);
                    self.cover(row);
                }
                self.operation_ends(row, ending)
            }
            Change::OperationRemoved { id } => {
                Err(Broken::new(LOST, format!("operation {id} is forgotten")))
            }
            Change::Host(row) => ensure(self.portion.owns_host(&row.host), OTHERS, || {
                let partition = self.portion.partition;
                format!("{} is on the record of partition {partition}", row.host)
            }),
            Change::Key(_) | Change::KeyRemoved { .. } => Ok(()),
        }
    }

    /// The hosts that an append takes out of the swarm, and perhaps in again.
    pub(super) fn leaving(&self, all: &[Change]) -> BTreeSet<HostId> {
        let hosts = all.iter().filter_map(|change| match change {
            Change::Host(row) => Some(&**row),
            _ => None,
        });
        let leaves = |row: &&HostRow| {
            let stored = self.rows.hosts.get(&row.host);
            row.status == HostStatus::Decommissioned
                || stored.is_some_and(|stored| stored.enrolled_at != row.enrolled_at)
        };
        hosts.filter(leaves).map(|row| row.host.clone()).collect()
    }

    fn cover(&mut self, row: &OperationRow) {
        let born = |decky: &DeckyId| {
            let shard = self.rows.shards.get(&(row.host.clone(), decky.clone()))?;
            Some((decky.clone(), shard.born))
        };
        let covered = row
            .outcomes
            .iter()
            .filter_map(|outcome| born(&outcome.decky))
            .collect();
        self.covered.insert(row.id, covered);
    }

    /// An operation that succeeds or fails has a result of its own host's agent, or a deadline that has
    /// passed, or a host that was taken out.
    fn operation_ends(&self, row: &OperationRow, ending: &Ending) -> Result<(), Broken> {
        if !comes_to(ending, Some(row.id), has_result) || !has_result(row.state) {
            return Ok(());
        }
        let told = self.reports().iter().any(|report| {
            matches!(report, Report::Result { host, operation, .. }
                if *operation == row.id && *host == row.host)
        });
        let left = self.leaving.contains(&row.host);
        let found_gone = row.state == OperationState::Succeeded
            && row.finished_at.is_some_and(|at| at >= row.deadline);
        ensure(told || left || found_gone, SEEN, || {
            format!(
                "operation {} is {:?}, and nobody said so",
                row.id, row.state
            )
        })
    }

    fn shard_put(&mut self, row: &ShardRow, all: &[Change], ending: &Ending) -> Result<(), Broken> {
        let key = (row.host.clone(), row.decky.clone());
        let name = format!("{}/{}", row.host, row.decky);
        let before = self.rows.shards.get(&key).map(|shard| shard.row.clone());
        match &before {
            None => self.registered(row, all, &name)?,
            Some(before) if passing(before, row, all, ending) => {}
            Some(before) => changed(before, row, ending, &name)?,
        }
        if let Some(before) = &before {
            let told = row.revision > before.revision
                || (row.revision == before.revision
                    && (row.state, &row.last_error) == (before.state, &before.last_error));
            ensure(told, REVISIONS, || {
                format!("{name} changes without a revision: {before:?}, {row:?}")
            })?;
        }
        if row.state == ShardState::TearingDown {
            let operation = row.operation.and_then(|id| {
                let new = all.iter().find_map(|change| match change {
                    Change::Operation(row) if row.id == id => Some(&**row),
                    _ => None,
                });
                new.or(self.rows.operations.get(&id))
            });
            let covers = operation.is_some_and(|operation| {
                operation.host == row.host
                    && operation
                        .decky
                        .as_ref()
                        .is_none_or(|only| *only == row.decky)
            });
            ensure(covers, OTHERS, || {
                format!(
                    "{name} is torn down by {:?}, which is not about it",
                    row.operation
                )
            })?;
        }
        if row.state == ShardState::TeardownFailed {
            let shown = row
                .last_error
                .as_ref()
                .is_some_and(|error| !error.as_str().is_empty());
            ensure(shown, SEEN, || format!("{name} failed without an error"))?;
        }
        if let Some(host) = self.rows.hosts.get(&row.host) {
            let digest = |revision| digest_of_row(row, &host.name.to_string(), revision);
            self.history.insert(
                (row.host.clone(), row.decky.clone(), row.revision),
                digest(row.revision),
            );
            if !self.portion.is_first() {
                let texts = self.unnumbered.entry(key).or_default();
                texts.insert(digest(0));
            }
        }
        Ok(())
    }

    /// A shard that was not on record: its agent listed it, or could not remove it, and that is newer than what
    /// left.
    fn registered(&self, row: &ShardRow, all: &[Change], name: &str) -> Result<(), Broken> {
        let key = (row.host.clone(), row.decky.clone());
        let removes = |change: &&Change| matches!(change, Change::ShardRemoved { host, decky } if (host, decky) == (&row.host, &row.decky));
        // What an append removes twice was there in between; which report removed it when is not told apart.
        let known = match all.iter().filter(removes).count() {
            0 | 1 => &self.gone,
            _ => &self.gone_before,
        };
        let gone = known.get(&key).copied().unwrap_or(0);
        let seen = self.reports().iter().any(|report| match report {
            Report::Inventory {
                host,
                boot,
                sequence,
                listed,
            } => {
                *host == row.host
                    && listed.contains(&row.decky)
                    && (self.inventories.get(&(index_of(host), *boot, *sequence)))
                        .is_some_and(|seen| seen.get(&row.decky).copied().unwrap_or(0) >= gone)
            }
            Report::Result {
                host,
                operation,
                said,
                ..
            } => {
                let before = self.gone_before.get(&key).copied().unwrap_or(0);
                let newer = (self.results.get(&(index_of(host), *operation)))
                    .is_some_and(|seen| seen.get(&row.decky).copied().unwrap_or(0) >= before);
                *host == row.host
                    && row.state == ShardState::TeardownFailed
                    && said.get(&row.decky) == Some(&ReportedOutcome::Failed)
                    && newer
            }
        });
        ensure(seen, BACK, || {
            format!(
                "{name} is registered, but its agent listed nothing newer than what was removed ({gone})"
            )
        })
    }

    fn shard_removed(
        &mut self,
        host: &HostId,
        decky: &DeckyId,
        all: &[Change],
        ending: &Ending,
    ) -> Result<(), Broken> {
        let key = (host.clone(), decky.clone());
        let Some(shard) = self.rows.shards.get(&key) else {
            return Err(Broken::new(
                EVIDENCE,
                format!("{host}/{decky} is removed, and was not there"),
            ));
        };
        if self.leaving.contains(host) {
            return Ok(());
        }
        let row = &shard.row;
        let deadline = comes_to(ending, row.operation, |state| {
            matches!(state, OperationState::Succeeded | OperationState::TimedOut)
        });
        let by_inventory = row.state == ShardState::TeardownFailed
            || (row.state == ShardState::TearingDown && deadline);
        // What came and waits yet is no reason, however well it would be one.
        let stored = self.rows.hosts.get(host);
        let applied = all.iter().fold(stored, |stored, change| match change {
            Change::Host(row) if row.host == *host => Some(row),
            _ => stored,
        });
        let applied = applied.and_then(|row| row.applied);
        let taken = |boot, sequence| applied >= Some(scuttle_core::Report { boot, sequence });
        let mut gone = None;
        for report in self.reports() {
            let evidence = match report {
                Report::Inventory {
                    host: from,
                    boot,
                    sequence,
                    listed,
                } => (by_inventory
                    && from == host
                    && !listed.contains(decky)
                    && taken(*boot, *sequence))
                .then(|| self.inventories.get(&(index_of(host), *boot, *sequence)))
                .flatten(),
                Report::Result {
                    host: from,
                    boot,
                    sequence,
                    operation,
                    outcome,
                    said,
                } => {
                    let ends = comes_to(ending, Some(*operation), has_result);
                    let says = match said.get(decky) {
                        Some(outcome) => *outcome != ReportedOutcome::Failed,
                        None => {
                            *outcome == ResultOutcome::Succeeded
                                && (self.covered.get(operation))
                                    .is_some_and(|covered| covered.get(decky) == Some(&shard.born))
                        }
                    };
                    (from == host && ends && says && taken(*boot, *sequence))
                        .then(|| self.results.get(&(index_of(host), *operation)))
                        .flatten()
                }
            };
            let through = evidence.map(|seen| seen.get(decky).copied().unwrap_or(0));
            gone = gone.max(through);
        }
        let Some(through) = gone else {
            return Err(Broken::new(
                EVIDENCE,
                format!(
                    "{host}/{decky} ({:?}) leaves the record, and its agent did not say that it is gone",
                    row.state
                ),
            ));
        };
        let known = self.gone.entry(key).or_default();
        *known = through.max(*known);
        Ok(())
    }
}

/// The protocol's table of operation states.
fn follows(from: Option<OperationState>, to: OperationState) -> bool {
    use OperationState::{Cancelled, Failed, Queued, Running, Succeeded, TimedOut};
    match from {
        None | Some(Queued) => true,
        Some(Running) => !matches!(to, Queued | Cancelled),
        Some(TimedOut) => matches!(to, TimedOut | Succeeded | Failed),
        Some(Cancelled) => matches!(to, Cancelled | Succeeded | Failed),
        Some(Succeeded) => to == Succeeded,
        Some(Failed) => to == Failed,
    }
}

/// Whether a shard was let go of and was decided again in the same batch: cancelled, and then its result came. Of the
/// operation the batch holds the end alone.
fn passing(before: &ShardRow, row: &ShardRow, all: &[Change], ending: &Ending) -> bool {
    let decided_again = all.iter().any(|change| match change {
        Change::Shard(later) => {
            (&later.host, &later.decky) == (&row.host, &row.decky)
                && later.state == ShardState::TeardownFailed
                && later.revision > row.revision
        }
        Change::ShardRemoved { host, decky } => (host, decky) == (&row.host, &row.decky),
        _ => false,
    });
    before.state == ShardState::TearingDown
        && comes_to(ending, before.operation, has_result)
        && decided_again
}

/// How a shard on record may change: an operation's states and errors are its own.
fn changed(before: &ShardRow, row: &ShardRow, ending: &Ending, name: &str) -> Result<(), Broken> {
    let ends = |id| comes_to(ending, id, |_| true);
    let holds = match (before.state, row.state) {
        (ShardState::TeardownFailed, ShardState::TeardownFailed) => {
            (row.operation == before.operation && row.last_error == before.last_error)
                || ends(row.operation)
        }
        (ShardState::TeardownFailed | ShardState::TearingDown, ShardState::TearingDown) => {
            before.state == row.state || row.operation != before.operation
        }
        (ShardState::TearingDown, ShardState::TeardownFailed) => ends(row.operation),
        (ShardState::TearingDown, _) => comes_to(ending, before.operation, |state| {
            state == OperationState::Cancelled
        }),
        (ShardState::TeardownFailed, _) => false,
        // It failed after it was cancelled, or taken up again by a result.
        (_, ShardState::TeardownFailed) => ends(row.operation),
        _ => true,
    };
    ensure(holds, SEEN, || {
        format!("{name} goes from {before:?} to {row:?}")
    })
}
