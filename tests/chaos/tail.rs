//! After the faults: everything is healed, and what must come is awaited, each thing with a limit.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use anyhow::{Result, anyhow};
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::OperationRecord;
use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::{ErrorCode, OperationId};
use scuttle_tests::{Client, RequestError};
use tokio::time::{Instant, MissedTickBehavior};

use crate::audit::ended;
use crate::load::passing;
use crate::stage::{GROUPS, Stage};
use crate::{trouble, truth};

/// Beyond the longest deadline, for the results that come late.
const OPERATIONS_END: Duration = Duration::from_secs(90);
/// For the heartbeats, and the last words of late operations.
const RECORD_AGREES: Duration = Duration::from_mins(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// Nothing is down, and no host does anything by itself.
///
/// # Errors
/// Something had ended by itself.
pub(crate) async fn heal(stage: &Stage) -> Result<()> {
    for actor in trouble::actors(stage.size) {
        stage.alive(actor).await?;
    }
    for group in 0..GROUPS {
        stage.calm(group).await?;
    }
    Ok(())
}

/// Waits until every operation has ended and the record is what the hosts are; says what has not come.
pub(crate) async fn quiet(stage: &Stage, operator: &Client) -> Vec<String> {
    let open = || async {
        let open = operator.list_operations().await?;
        let open: Vec<_> = open.into_iter().filter(|each| !ended(each)).collect();
        anyhow::Ok(
            (!open.is_empty()).then(|| format!("{} operations are open: {open:?}", open.len())),
        )
    };
    let mut losses = Vec::new();
    losses.extend(come(OPERATIONS_END, open).await);
    losses.extend(come(RECORD_AGREES, || differences(stage, operator)).await);
    losses
}

async fn differences(stage: &Stage, operator: &Client) -> Result<Option<String>> {
    let away = operator.list_hosts().await?;
    let away = away
        .values()
        .filter(|host| host.status != HostStatus::Online);
    let away: Vec<_> = away.map(|host| host.host_uuid.to_string()).collect();
    let shards = operator.list_shards().await?;
    let recorded = shards
        .into_iter()
        .map(|shard| (shard.host_uuid, shard.decky_id));
    let recorded: BTreeSet<_> = recorded.collect();
    let real = truth::deckies(stage)?;
    if away.is_empty() && recorded == real {
        return Ok(None);
    }
    let unequal: Vec<_> = recorded.symmetric_difference(&real).collect();
    Ok(Some(format!(
        "record and hosts differ in {unequal:?}; away: {away:?}"
    )))
}

/// Looks until there is nothing to wait for; what it waited for, when that did not come.
async fn come<F: Future<Output = Result<Option<String>>>>(
    limit: Duration,
    mut look: impl FnMut() -> F,
) -> Option<String> {
    let give_up = Instant::now() + limit;
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let missing = match look().await {
            Ok(None) => return None,
            Ok(Some(missing)) => missing,
            Err(error) => format!("no answer: {error:#}"),
        };
        if Instant::now() > give_up {
            return Some(format!("after {limit:?}: {missing}"));
        }
    }
}

/// Asks until the answer is another than to ask again, as it is while a partition is given to another controller.
async fn answered<T, F: Future<Output = Result<T, RequestError>>>(
    mut ask: impl FnMut() -> F,
) -> Result<T, RequestError> {
    let give_up = Instant::now() + RECORD_AGREES;
    let mut ticks = tokio::time::interval(LOOK);
    loop {
        ticks.tick().await;
        match ask().await {
            Err(RequestError::Rejected(why)) if passing(why.code) && Instant::now() < give_up => {}
            other => return other,
        }
    }
}

/// The whole record.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) operations: BTreeMap<OperationId, OperationRecord>,
    pub(crate) shards: Vec<ShardRecord>,
    /// Of the shards.
    pub(crate) revision: u64,
}

/// Asks for every operation, one by one: those on the list, and those that were promised.
///
/// # Errors
/// The controller does not answer.
pub(crate) async fn record(
    operator: &Client,
    promised: impl IntoIterator<Item = OperationId>,
) -> Result<Record> {
    let listed = answered(|| operator.list_operations()).await?;
    let listed = listed.into_iter().map(|operation| operation.operation_id);
    let ids: BTreeSet<OperationId> = listed.chain(promised).collect();
    let mut operations = BTreeMap::new();
    for id in ids {
        match answered(|| operator.operation(id)).await {
            Ok(operation) => {
                operations.insert(id, operation);
            }
            // The audit misses it.
            Err(RequestError::Rejected(why)) if why.code == ErrorCode::OperationNotFound => {}
            Err(error) => return Err(anyhow!("ask for operation {id}: {error}")),
        }
    }
    let (revision, shards) = answered(|| operator.list_shards_paged(1000)).await?;
    Ok(Record {
        operations,
        shards,
        revision,
    })
}
