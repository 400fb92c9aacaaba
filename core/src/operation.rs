//! Operations: which state follows which, and the record as operators see it.

use scuttle_schemas::operations::{
    MAX_LISTED_OUTCOMES, OperationKind, OperationRecord, OperationShard, OperationState,
    OutcomeCounts, ShardOutcome, WaitingFor,
};
use scuttle_schemas::{DeckyId, Text, Timestamp};

use crate::broadcast::Bounded;
use crate::lists::ANSWER_BYTES;
use crate::rows::{OperationRow, OutcomeRow};

/// What can happen to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Its agent is at work on it.
    Started,
    /// Its agent confirmed that every shard is gone.
    Succeeded,
    /// Its agent reported an error.
    Failed,
    /// The deadline passed, and an inventory shows that every shard is gone.
    FoundGone,
    /// The deadline passed otherwise.
    Expired,
    /// An operator withdrew it.
    Cancelled,
    /// An operator took its host out of the swarm.
    Decommissioned,
}

/// An event that an operation's state does not provide for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an operation that is {state:?} cannot take {event:?}")]
pub(crate) struct IllegalTransition {
    state: OperationState,
    event: Event,
}

/// The state after an event.
///
/// A result counts whatever came before, except after another result: `timed_out` and `cancelled` say
/// what the controller knew, and an agent that acted all the same knows better.
pub(crate) fn next_state(
    state: OperationState,
    event: Event,
) -> Result<OperationState, IllegalTransition> {
    use OperationState::{Cancelled, Failed, Queued, Running, Succeeded, TimedOut};
    match (state, event) {
        (Queued, Event::Started) => Ok(Running),
        (Queued | Running, Event::FoundGone)
        | (Queued | Running | TimedOut | Cancelled, Event::Succeeded) => Ok(Succeeded),
        (Queued | Running | TimedOut | Cancelled, Event::Failed)
        | (Queued | Running, Event::Decommissioned) => Ok(Failed),
        (Queued, Event::Cancelled) => Ok(Cancelled),
        (Queued | Running, Event::Expired) => Ok(TimedOut),
        (
            Running | Succeeded | Failed | TimedOut | Cancelled,
            Event::Started | Event::Cancelled,
        )
        | (Succeeded | Failed, Event::Succeeded | Event::Failed)
        | (
            Succeeded | Failed | TimedOut | Cancelled,
            Event::FoundGone | Event::Expired | Event::Decommissioned,
        ) => Err(IllegalTransition { state, event }),
    }
}

impl OperationRow {
    /// When it next needs a `Tick`. A cancelled one is withdrawn again and again until its deadline: its
    /// agent may have been away, with the command in its queue.
    pub(crate) fn wakes_at(&self) -> Option<Timestamp> {
        match self.state {
            OperationState::Queued => Some(self.next_attempt_at.min(self.deadline)),
            OperationState::Running => Some(self.deadline),
            OperationState::Cancelled => {
                Some(self.next_attempt_at).filter(|at| *at < self.deadline)
            }
            OperationState::Succeeded | OperationState::Failed | OperationState::TimedOut => None,
        }
    }

    /// Takes an event, if this state provides for it.
    pub(crate) fn take(&mut self, event: Event, now: Timestamp) -> Result<(), IllegalTransition> {
        self.state = next_state(self.state, event)?;
        if event == Event::Started {
            self.started_at = Some(now);
        }
        if !crate::state::is_open(self.state) {
            self.finished_at = Some(now);
        }
        Ok(())
    }

    /// Notes what became of a decky; one that was not covered is added, so that operators read it.
    pub(crate) fn note(&mut self, decky: &DeckyId, outcome: ShardOutcome, error: Option<Text>) {
        match self
            .outcomes
            .binary_search_by(|outcome| outcome.decky.cmp(decky))
        {
            Ok(at) => {
                self.outcomes[at].outcome = outcome;
                self.outcomes[at].error = error;
            }
            Err(at) => {
                self.outcomes.insert(
                    at,
                    OutcomeRow {
                        decky: decky.clone(),
                        outcome,
                        error,
                    },
                );
            }
        }
    }

    /// How many shards have which outcome.
    pub(crate) fn counts(&self) -> OutcomeCounts {
        let mut counts = OutcomeCounts::default();
        for row in &self.outcomes {
            match row.outcome {
                ShardOutcome::Pending => counts.pending += 1,
                ShardOutcome::Removed => counts.removed += 1,
                ShardOutcome::Absent => counts.absent += 1,
                ShardOutcome::Failed => counts.failed += 1,
            }
        }
        counts
    }

    /// The record as lists and broadcasts show it.
    pub(crate) fn record(&self, waiting_for: Option<WaitingFor>) -> OperationRecord {
        OperationRecord {
            operation_id: self.id,
            kind: OperationKind::Teardown,
            host_uuid: self.host.clone(),
            host_name: self.host_name.clone(),
            decky_id: self.decky.clone(),
            state: self.state,
            requested_by: self.requested_by.clone(),
            reason: self.reason.clone(),
            accepted_at: self.accepted_at,
            deadline: self.deadline,
            finished_at: self.finished_at,
            attempts: self.attempts,
            error: self.error.clone(),
            counts: self.counts(),
            shards: None,
            waiting_for,
        }
    }

    /// The record with its shards, failed ones first.
    pub(crate) fn whole_record(&self, waiting_for: Option<WaitingFor>) -> OperationRecord {
        let failed = |row: &&OutcomeRow| row.outcome == ShardOutcome::Failed;
        let record = self.record(waiting_for);
        let mut room = ANSWER_BYTES.saturating_sub(record.most_bytes());
        let shards = (self.outcomes.iter().filter(failed))
            .chain(self.outcomes.iter().filter(|row| !failed(row)))
            .take(MAX_LISTED_OUTCOMES)
            .take_while(|row| row.fits(&mut room))
            .map(|row| OperationShard {
                decky_id: row.decky.clone(),
                outcome: row.outcome,
                error: row.error.clone(),
            })
            .collect();
        OperationRecord {
            shards: Some(shards),
            ..record
        }
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::operations::OperationState::{
        Cancelled, Failed, Queued, Running, Succeeded, TimedOut,
    };

    use super::{Event, next_state};

    /// The protocol's table of operation states, row by row.
    #[test]
    fn operations_go_on_as_the_protocol_says() {
        for (state, goes_on_to) in [
            (
                Queued,
                vec![
                    Running, Succeeded, Failed, Succeeded, TimedOut, Cancelled, Failed,
                ],
            ),
            (
                Running,
                vec![Succeeded, Failed, Succeeded, TimedOut, Failed],
            ),
            (Succeeded, vec![]),
            (Failed, vec![]),
            (TimedOut, vec![Succeeded, Failed]),
            (Cancelled, vec![Succeeded, Failed]),
        ] {
            let events = [
                Event::Started,
                Event::Succeeded,
                Event::Failed,
                Event::FoundGone,
                Event::Expired,
                Event::Cancelled,
                Event::Decommissioned,
            ];
            let reached: Vec<_> = events
                .into_iter()
                .filter_map(|event| next_state(state, event).ok())
                .collect();
            assert_eq!(reached, goes_on_to, "from {state:?}");
        }
    }
}
