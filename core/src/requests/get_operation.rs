//! `swarm.operations.get`: one operation with its shards.

use scuttle_schemas::operations::{
    MAX_LISTED_OUTCOMES, OperationGetReply, OperationRecord, OperationShard, ShardOutcome,
};
use scuttle_schemas::{ErrorReply, OperationId};

use crate::broadcast::size_bounds::SizeBound;
use crate::errors::operation_not_found;
use crate::record::rows::{OperationRow, OutcomeRow};
use crate::state::State;

impl State {
    pub(crate) fn get_operation(&self, id: OperationId) -> Result<OperationGetReply, ErrorReply> {
        let row = self.operations.get(&id);
        let row = row.ok_or_else(|| operation_not_found(id))?;
        let record = self.operation_record(row);
        Ok(OperationGetReply {
            operation: add_shards(record, row, self.batch.limits.reply_bytes()),
        })
    }
}

/// Adds the operation's shards to its record, failed shards first: at most `MAX_LISTED_OUTCOMES`,
/// and only as many as fit into `max_bytes` together with the record.
fn add_shards(record: OperationRecord, row: &OperationRow, max_bytes: usize) -> OperationRecord {
    let has_failed = |row: &&OutcomeRow| row.outcome == ShardOutcome::Failed;
    let mut free_bytes = max_bytes.saturating_sub(record.max_json_bytes());
    let shards = (row.outcomes.iter().filter(has_failed))
        .chain(row.outcomes.iter().filter(|row| !has_failed(row)))
        .take(MAX_LISTED_OUTCOMES)
        .map(|outcome| OperationShard {
            decky_id: outcome.decky.clone(),
            outcome: outcome.outcome,
            error: outcome.error.clone(),
            evidence: row.find_evidence(&outcome.decky).cloned(),
        })
        .take_while(|shard| shard.try_reserve(&mut free_bytes))
        .collect();
    OperationRecord {
        shards: Some(shards),
        ..record
    }
}
