//! The rules for changes of operations: the protocol must allow each transition, and the oracle
//! must have seen its cause.

use std::collections::BTreeMap;

use scuttle_core::{Change, OperationRow};
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::{DeckyId, OperationId};

use crate::oracle::partition::PartitionOracle;
use crate::oracle::reports::Report;
use crate::oracle::violation::{FAILURES_SHOWN, OWN_HOST_ONLY, Violation, ensure};

/// The states that each operation passes through in one append, which may hold several batches.
pub(crate) type Transitions = BTreeMap<OperationId, Vec<OperationState>>;

pub(crate) fn reaches_state(
    transitions: &Transitions,
    id: Option<OperationId>,
    like: impl Fn(OperationState) -> bool,
) -> bool {
    let states = id.and_then(|id| transitions.get(&id));
    states.is_some_and(|states| states.iter().any(|state| like(*state)))
}

fn is_open(state: OperationState) -> bool {
    matches!(state, OperationState::Queued | OperationState::Running)
}

pub(crate) fn has_result(state: OperationState) -> bool {
    matches!(state, OperationState::Succeeded | OperationState::Failed)
}

impl PartitionOracle {
    /// Collects the transitions of an append, and checks that the protocol allows each of them.
    pub(crate) fn collect_transitions(&self, changes: &[Change]) -> Result<Transitions, Violation> {
        let mut transitions = Transitions::new();
        for change in changes {
            let Change::Operation(row) = change else {
                continue;
            };
            let stored = self.record.operations.get(&row.id).map(|row| row.state);
            let states = transitions.entry(row.id).or_default();
            let from = states.last().copied().or(stored);
            ensure(is_allowed(from, row.state), FAILURES_SHOWN, || {
                format!("operation {} goes from {from:?} to {:?}", row.id, row.state)
            })?;
            if from != Some(row.state) {
                states.push(row.state);
            }
            let known = self.record.operations.get(&row.id);
            ensure(
                known.is_none_or(|known| known.host == row.host && known.decky == row.decky),
                OWN_HOST_ONLY,
                || format!("operation {} has changed its target", row.id),
            )?;
            if row.state == OperationState::TimedOut && stored.is_some_and(is_open) {
                ensure(
                    row.finished_at >= Some(row.deadline),
                    FAILURES_SHOWN,
                    || format!("{} timed out before its deadline", row.id),
                )?;
            }
        }
        Ok(transitions)
    }

    pub(crate) fn record_coverage(&mut self, row: &OperationRow) {
        let registered_in = |decky: &DeckyId| {
            let shard = self.record.shards.get(&(row.host.clone(), decky.clone()))?;
            Some((decky.clone(), shard.registered_in))
        };
        let covered = row
            .outcomes
            .iter()
            .filter_map(|outcome| registered_in(&outcome.decky))
            .collect();
        self.covered.insert(row.id, covered);
    }

    /// Checks that the success or failure of an operation has a cause:
    ///
    /// - the host's agent has reported a result,
    /// - the host is being decommissioned, or
    /// - the operation succeeded at its deadline.
    pub(crate) fn check_operation_end(
        &self,
        row: &OperationRow,
        transitions: &Transitions,
    ) -> Result<(), Violation> {
        if !reaches_state(transitions, Some(row.id), has_result) || !has_result(row.state) {
            return Ok(());
        }
        let reported = self.reports().iter().any(|report| {
            matches!(report, Report::Result { host, operation, .. }
                if *operation == row.id && *host == row.host)
        });
        let departed = self.departing.contains(&row.host);
        let proven_at_deadline = row.state == OperationState::Succeeded
            && row.finished_at.is_some_and(|at| at >= row.deadline);
        ensure(
            reported || departed || proven_at_deadline,
            FAILURES_SHOWN,
            || {
                format!(
                    "operation {} is {:?}, but no report says so",
                    row.id, row.state
                )
            },
        )
    }
}

/// Returns whether the protocol allows an operation's state to change from `from` to `to`, or to
/// stay the same. `from` is `None` for a new operation.
fn is_allowed(from: Option<OperationState>, to: OperationState) -> bool {
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
