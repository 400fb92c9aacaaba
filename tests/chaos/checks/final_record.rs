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

/// The timeout for the retries of a request that is rejected temporarily.
const RETRY_TIMEOUT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// The operations and shards in the record at the end of a run.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) operations: BTreeMap<OperationId, OperationRecord>,
    pub(crate) shards: Vec<ShardRecord>,
    /// The `shards.updated` revision on the first page of the list of shards.
    pub(crate) revision: u64,
}

/// Fetches all shards, and every operation that is listed or named in `accepted_ids`. Operations
/// that do not exist are left out.
///
/// # Errors
/// If a request is rejected, or gets no reply or an invalid one.
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
            // The audit reports the missing operation.
            Err(RequestError::Rejected(error)) if error.code == ErrorCode::OperationNotFound => {}
            Err(error) => return Err(anyhow!("fetch operation {id}: {error}")),
        }
    }
    let (revision, shards) = retry(|| operator.list_shards_paged(1000)).await?;
    Ok(Record {
        operations,
        shards,
        revision,
    })
}

/// Returns whether an operation is neither queued nor running.
pub(crate) fn has_ended(operation: &OperationRecord) -> bool {
    !matches!(
        operation.state,
        OperationState::Queued | OperationState::Running
    )
}

/// Repeats a request as long as it is rejected temporarily, for example while a partition moves to
/// another controller. Returns the last rejection after [`RETRY_TIMEOUT`].
async fn retry<T, F: Future<Output = Result<T, RequestError>>>(
    mut request: impl FnMut() -> F,
) -> Result<T, RequestError> {
    let give_up = Instant::now() + RETRY_TIMEOUT;
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    loop {
        ticks.tick().await;
        match request().await {
            Err(RequestError::Rejected(error))
                if is_retryable(error.code) && Instant::now() < give_up => {}
            other => return other,
        }
    }
}
