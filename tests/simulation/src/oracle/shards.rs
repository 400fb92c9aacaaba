//! The rules for changes of shards: each change must have a cause that the protocol allows and that
//! the oracle has seen.

use scuttle_core::{Change, ShardRow};
use scuttle_schemas::agents::{ReportedOutcome, ResultOutcome};
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{DeckyId, HostId};

use crate::oracle::digest::digest_of_row;
use crate::oracle::operations::{Transitions, has_result, reaches_state};
use crate::oracle::partition::{PartitionOracle, host_index};
use crate::oracle::record::is_redeployed;
use crate::oracle::reports::Report;
use crate::oracle::violation::{
    FAILURES_SHOWN, GAPLESS_REVISIONS, NO_REAPPEARANCE, OWN_HOST_ONLY, REMOVAL_EVIDENCE, Violation,
    ensure,
};

impl PartitionOracle {
    pub(crate) fn check_shard_put(
        &mut self,
        row: &ShardRow,
        all: &[Change],
        transitions: &Transitions,
    ) -> Result<(), Violation> {
        let key = (row.host.clone(), row.decky.clone());
        let name = format!("{}/{}", row.host, row.decky);
        let before = self.record.shards.get(&key).map(|shard| shard.row.clone());
        match &before {
            None => self.check_registration(row, all, &name)?,
            Some(before) if is_redeployed(before, row) => {
                Self::check_redeployment(before, row, &name)?;
            }
            Some(before) if is_superseded(before, row, all, transitions) => {}
            Some(before) => check_shard_change(before, row, transitions, &name)?,
        }
        if let Some(before) = &before {
            let announced = row.revision > before.revision
                || (row.revision == before.revision
                    && (row.state, &row.last_error) == (before.state, &before.last_error));
            ensure(announced, GAPLESS_REVISIONS, || {
                format!("{name} changes without a revision: {before:?}, {row:?}")
            })?;
        }
        if row.state == ShardState::TearingDown {
            let operation = row.operation.and_then(|id| {
                let new = all.iter().find_map(|change| match change {
                    Change::Operation(row) if row.id == id => Some(&**row),
                    _ => None,
                });
                new.or(self.record.operations.get(&id))
            });
            let covers = operation.is_some_and(|operation| {
                operation.host == row.host
                    && operation
                        .decky
                        .as_ref()
                        .is_none_or(|only| *only == row.decky)
            });
            ensure(covers, OWN_HOST_ONLY, || {
                format!(
                    "{name} is torn down by {:?}, which does not cover it",
                    row.operation
                )
            })?;
        }
        self.check_deployment(before.as_ref(), row, &name)?;
        if row.state == ShardState::TeardownFailed {
            let shown = row
                .last_error
                .as_ref()
                .is_some_and(|error| !error.as_str().is_empty());
            ensure(shown, FAILURES_SHOWN, || {
                format!("{name} failed without an error")
            })?;
        }
        if let Some(host) = self.record.hosts.get(&row.host) {
            let digest = |revision| digest_of_row(row, &host.name.to_string(), revision);
            self.row_digests.insert(
                (row.host.clone(), row.decky.clone(), row.revision),
                digest(row.revision),
            );
            if !self.assignment.is_first() {
                let texts = self.relayed_digests.entry(key).or_default();
                texts.insert(digest(0));
            }
        }
        Ok(())
    }

    /// Checks the registration of a shard. In a report that is newer than the last removal of the
    /// decky, an agent must have listed the decky or failed to remove it.
    fn check_registration(
        &self,
        row: &ShardRow,
        all: &[Change],
        name: &str,
    ) -> Result<(), Violation> {
        let key = (row.host.clone(), row.decky.clone());
        let removes = |change: &&Change| matches!(change, Change::ShardRemoved { host, decky } if (host, decky) == (&row.host, &row.decky));
        // A shard that an append removes twice was registered in between. It is unknown which
        // report caused which removal.
        let known = match all.iter().filter(removes).count() {
            0 | 1 => &self.removed,
            _ => &self.removed_before_append,
        };
        let removed = known.get(&key).copied().unwrap_or(0);
        let reported = self.reports().iter().any(|report| match report {
            Report::Inventory {
                host,
                boot,
                sequence,
                listed,
            } => {
                *host == row.host
                    && listed.contains_key(&row.decky)
                    && (self.inventories.get(&(host_index(host), *boot, *sequence))).is_some_and(
                        |removed_then| {
                            removed_then.get(&row.decky).copied().unwrap_or(0) >= removed
                        },
                    )
            }
            Report::Result {
                host,
                operation,
                outcomes,
                ..
            } => {
                let before = self.removed_before_append.get(&key).copied().unwrap_or(0);
                let newer = (self.results.get(&(host_index(host), *operation))).is_some_and(
                    |removed_then| removed_then.get(&row.decky).copied().unwrap_or(0) >= before,
                );
                *host == row.host
                    && row.state == ShardState::TeardownFailed
                    && outcomes.get(&row.decky) == Some(&ReportedOutcome::Failed)
                    && newer
            }
        });
        ensure(reported, NO_REAPPEARANCE, || {
            format!(
                "{name} is registered, but its agent listed nothing newer than what was removed ({removed})"
            )
        })
    }

    pub(crate) fn check_shard_removal(
        &mut self,
        host: &HostId,
        decky: &DeckyId,
        all: &[Change],
        transitions: &Transitions,
    ) -> Result<(), Violation> {
        let key = (host.clone(), decky.clone());
        let Some(shard) = self.record.shards.get(&key) else {
            return Err(Violation::new(
                REMOVAL_EVIDENCE,
                format!("{host}/{decky} is removed, but was not on record"),
            ));
        };
        if self.departing.contains(host) {
            return Ok(());
        }
        let row = &shard.row;
        let deadline = reaches_state(transitions, row.operation, |state| {
            matches!(state, OperationState::Succeeded | OperationState::TimedOut)
        });
        let by_inventory = row.state == ShardState::TeardownFailed
            || (row.state == ShardState::TearingDown && deadline);
        // A report that was received but not applied yet is no reason to remove a shard.
        let stored = self.record.hosts.get(host);
        let applied = all.iter().fold(stored, |stored, change| match change {
            Change::Host(row) if row.host == *host => Some(row),
            _ => stored,
        });
        let applied = applied.and_then(|row| row.applied);
        // If an append also resets the agent, the report may have been applied before the reset.
        let is_reset = all.iter().any(|change| {
            matches!(change, Change::Host(row) if row.host == *host && row.applied.is_none())
        });
        let was_applied =
            |boot, sequence| is_reset || applied >= Some(scuttle_core::ReportId { boot, sequence });
        let mut removed = None;
        for report in self.reports() {
            if self.is_older_than_deployment(report, row) {
                continue;
            }
            let evidence = match report {
                Report::Inventory {
                    host: from,
                    boot,
                    sequence,
                    listed,
                } => (by_inventory
                    && from == host
                    && !listed.contains_key(decky)
                    && was_applied(*boot, *sequence))
                .then(|| self.inventories.get(&(host_index(host), *boot, *sequence)))
                .flatten(),
                Report::Result {
                    host: from,
                    boot,
                    sequence,
                    operation,
                    outcome,
                    outcomes,
                } => {
                    let ends = reaches_state(transitions, Some(*operation), has_result);
                    let reported_gone = match outcomes.get(decky) {
                        Some(outcome) => *outcome != ReportedOutcome::Failed,
                        None => {
                            *outcome == ResultOutcome::Succeeded
                                && (self.covered.get(operation)).is_some_and(|covered| {
                                    covered.get(decky) == Some(&shard.registered_in)
                                })
                        }
                    };
                    (from == host && ends && reported_gone && was_applied(*boot, *sequence))
                        .then(|| self.results.get(&(host_index(host), *operation)))
                        .flatten()
                }
            };
            let generation =
                evidence.map(|removed_then| removed_then.get(decky).copied().unwrap_or(0));
            removed = removed.max(generation);
        }
        let Some(generation) = removed else {
            return Err(Violation::new(
                REMOVAL_EVIDENCE,
                format!(
                    "{host}/{decky} ({:?}) is removed, but its agent did not report it gone",
                    row.state
                ),
            ));
        };
        let known = self.removed.entry(key).or_default();
        *known = generation.max(*known);
        Ok(())
    }
}

/// Returns whether a later change of the same append replaces this change. This happens when the
/// shard's operation was cancelled and its result arrived afterwards. The append then contains only
/// the last state of the operation.
fn is_superseded(
    before: &ShardRow,
    row: &ShardRow,
    all: &[Change],
    transitions: &Transitions,
) -> bool {
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
        && reaches_state(transitions, before.operation, has_result)
        && decided_again
}

/// Checks a change of a registered shard: fields that an operation has set may be changed only by
/// that operation.
fn check_shard_change(
    before: &ShardRow,
    row: &ShardRow,
    transitions: &Transitions,
    name: &str,
) -> Result<(), Violation> {
    let ends = |id| reaches_state(transitions, id, |_| true);
    let holds = match (before.state, row.state) {
        (ShardState::TeardownFailed, ShardState::TeardownFailed) => {
            (row.operation == before.operation && row.last_error == before.last_error)
                || ends(row.operation)
        }
        (ShardState::TeardownFailed | ShardState::TearingDown, ShardState::TearingDown) => {
            before.state == row.state || row.operation != before.operation
        }
        (ShardState::TearingDown, ShardState::TeardownFailed) => ends(row.operation),
        (ShardState::TearingDown, _) => reaches_state(transitions, before.operation, |state| {
            state == OperationState::Cancelled
        }),
        (ShardState::TeardownFailed, _) => false,
        // The operation failed after it was cancelled, or a late result changed its outcome.
        (_, ShardState::TeardownFailed) => ends(row.operation),
        _ => true,
    };
    ensure(holds, FAILURES_SHOWN, || {
        format!("{name} goes from {before:?} to {row:?}")
    })
}
