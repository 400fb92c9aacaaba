//! Functions of an operation's row: its outcomes, and its record on the wire.

use scuttle_schemas::agents::{Evidence, TeardownResult};
use scuttle_schemas::operations::{
    OperationKind, OperationRecord, OperationState, OutcomeCounts, ShardOutcome, WaitingFor,
};
use scuttle_schemas::{DeckyId, MAX_SHARDS_PER_HOST, Text, Timestamp};

use crate::record::operation_state::{IllegalTransition, OperationEvent, is_open, next_state};
use crate::record::rows::{EvidenceRow, OperationRow, OutcomeRow};

impl OperationRow {
    /// Returns whether the agent may need a command of the operation until the deadline.
    ///
    /// A cancelled operation needs its cancel command, because the agent may have been offline when
    /// the operation was cancelled, with the teardown command already in its queue.
    pub(crate) fn needs_command(&self) -> bool {
        match self.state {
            OperationState::Queued | OperationState::Running | OperationState::Cancelled => true,
            OperationState::Succeeded | OperationState::Failed | OperationState::TimedOut => false,
        }
    }

    /// Applies an event to the state, and records the time at which the operation started or ended.
    /// Returns an error and changes nothing if the event is not possible in the state.
    pub(crate) fn transition(
        &mut self,
        event: OperationEvent,
        now: Timestamp,
    ) -> Result<(), IllegalTransition> {
        self.state = next_state(self.state, event)?;
        if event == OperationEvent::Started {
            self.started_at = Some(now);
        }
        if !is_open(self.state) {
            self.finished_at = Some(now);
        }
        Ok(())
    }

    /// Sets the outcome of a decky. Adds a decky that the operation did not cover, so that
    /// operators see the outcome, up to `MAX_SHARDS_PER_HOST` outcomes in total.
    pub(crate) fn set_outcome(
        &mut self,
        decky: &DeckyId,
        outcome: ShardOutcome,
        error: Option<Text>,
    ) {
        match self.outcomes.binary_search_by(|row| row.decky.cmp(decky)) {
            Ok(index) => {
                self.outcomes[index].outcome = outcome;
                self.outcomes[index].error = error;
            }
            // An agent may list any number of other deckies in its results.
            Err(_) if self.outcomes.len() >= MAX_SHARDS_PER_HOST => {}
            Err(index) => {
                let decky = decky.clone();
                self.outcomes.insert(
                    index,
                    OutcomeRow {
                        decky,
                        outcome,
                        error,
                    },
                );
            }
        }
    }

    /// Adds the evidence in a result of the operation. Returns whether some of it is new.
    pub(crate) fn keep_evidence(&mut self, result: &TeardownResult) -> bool {
        let mut is_new = false;
        for shard in &result.shards {
            // The result of an operation on a single decky counts for that decky only.
            let is_other = (self.decky.as_ref()).is_some_and(|only| *only != shard.decky_id);
            let Some(evidence) = shard.evidence.as_ref().filter(|_| !is_other) else {
                continue;
            };
            let rows = &self.evidence;
            if let Err(index) = rows.binary_search_by(|row| row.decky.cmp(&shard.decky_id)) {
                let row = EvidenceRow {
                    decky: shard.decky_id.clone(),
                    evidence: evidence.clone(),
                };
                self.evidence.insert(index, row);
                is_new = true;
            }
        }
        is_new
    }

    /// Returns the evidence of a decky, or `None` if its agent saved none.
    pub(crate) fn find_evidence(&self, decky: &DeckyId) -> Option<&Evidence> {
        let index = self.evidence.binary_search_by(|row| row.decky.cmp(decky));
        index.ok().map(|index| &self.evidence[index].evidence)
    }

    fn count_outcomes(&self) -> OutcomeCounts {
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

    /// Returns the operation's record as lists and broadcasts contain it: without its shards.
    pub(crate) fn to_record(&self, waiting_for: Option<WaitingFor>) -> OperationRecord {
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
            counts: self.count_outcomes(),
            shards: None,
            waiting_for,
        }
    }
}
