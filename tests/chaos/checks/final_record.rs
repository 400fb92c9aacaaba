//! The controllers' record at the end of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use anyhow::{Result, anyhow};
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::{ErrorCode, OperationId};
use scuttle_tests::{Client, RequestError};
use tokio::time::Instant;

use crate::load::operator::is_retryable;

/// How long a rejected request is repeated.
const RETRY_TIMEOUT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The whole record.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) operations: BTreeMap<OperationId, OperationRecord>,
    pub(crate) shards: Vec<ShardRecord>,
    /// Of the shards.
    pub(crate) revision: u64,
}

/// Asks for every operation, one by one: those on the list, and those that were accepted_ids.
///
/// # Errors
/// The controller does not answer.
pub(crate) async fn fetch(
    operator: &Client,
    accepted_ids: impl IntoIterator<Item = OperationId>,
) -> Result<Record> {
    let listed = retry(|| operator.list_operations()).await?;
    let listed = listed.into_iter().map(|operation| operation.operation_id);
    let ids: BTreeSet<OperationId> = listed.chain(accepted_ids).collect();
    let mut operations = BTreeMap::new();
    for id in ids {
        match retry(|| operator.operation(id)).await {
            Ok(operation) => {
                operations.insert(id, operation);
            }
            // The audit misses it.
            Err(RequestError::Rejected(why)) if why.code == ErrorCode::OperationNotFound => {}
            Err(error) => return Err(anyhow!("ask for operation {id}: {error}")),
        }
    }
    let (revision, shards) = retry(|| operator.list_shards_paged(1000)).await?;
    Ok(Record {
        operations,
        shards,
        revision,
    })
}

/// Whether it is over.
pub(crate) fn has_ended(operation: &OperationRecord) -> bool {
    !matches!(
        operation.state,
        OperationState::Queued | OperationState::Running
    )
}

/// Asks until the answer is another than to ask again, as it is while a partition is given to another controller.
async fn retry<T, F: Future<Output = Result<T, RequestError>>>(
    mut request: impl FnMut() -> F,
) -> Result<T, RequestError> {
    let give_up = Instant::now() + RETRY_TIMEOUT;
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    loop {
        ticks.tick().await;
        match request().await {
            Err(RequestError::Rejected(why))
                if is_retryable(why.code) && Instant::now() < give_up => {}
            other => return other,
        }
    }
}
