//! Operations: which state follows which, and the record as operators see it.

use scuttle_schemas::operations::{
    OperationKind, OperationRecord, OperationState, OutcomeCounts, ShardOutcome, WaitingFor,
};
use scuttle_schemas::{DeckyId, Text, Timestamp};

use crate::record::operation_state::{Event, is_open, next_state};
use crate::record::rows::{OperationRow, OutcomeRow};

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
    pub(crate) fn take(
        &mut self,
        event: Event,
        now: Timestamp,
    ) -> Result<(), crate::record::operation_state::IllegalTransition> {
        self.state = next_state(self.state, event)?;
        if event == Event::Started {
            self.started_at = Some(now);
        }
        if !is_open(self.state) {
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
}
