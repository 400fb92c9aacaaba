//! `swarm.operations.get`.

use scuttle_schemas::operations::{
    MAX_LISTED_OUTCOMES, OperationGetReply, OperationRecord, OperationShard, ShardOutcome,
    WaitingFor,
};
use scuttle_schemas::{ErrorCode, ErrorReply, OperationId};

use crate::broadcast::size_bounds::{ANSWER_BYTES, Bounded};
use crate::record::rows::{OperationRow, OutcomeRow};
use crate::state::State;

impl State {
    pub(crate) fn get_operation(&self, id: OperationId) -> Result<OperationGetReply, ErrorReply> {
        match self.operations.get(&id) {
            Some(row) => Ok(OperationGetReply {
                operation: row.whole_record(self.waiting_for(row)),
            }),
            None => Err(ErrorReply::new(
                ErrorCode::OperationNotFound,
                format!("no operation {id} is known"),
            )),
        }
    }
}

impl OperationRow {
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
