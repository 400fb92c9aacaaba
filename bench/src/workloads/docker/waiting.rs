//! Waits for the record to follow the deckies, and for the end of an operation.

use std::time::Duration;

use anyhow::{Context, Result};
use scuttle_schemas::OperationId;
use scuttle_schemas::operations::{OperationRecord, OperationsUpdated};
use scuttle_tests::clients::broadcasts::Broadcasts;
use scuttle_tests::cluster::docker_host::DockerHost;
use tokio::time::{interval, timeout};

/// The maximum time until the record follows the deckies.
const RECORD_TIMEOUT: Duration = Duration::from_mins(2);
/// The maximum duration of a teardown.
const TEARDOWN_TIMEOUT: Duration = Duration::from_mins(10);
/// The delay between two requests to the controller.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Waits until the record has this number of deckies of the host, all in this state.
pub(super) async fn wait_for_deckies(stage: &DockerHost, count: usize, state: &str) -> Result<()> {
    let mut ticks = interval(POLL_INTERVAL);
    let all_have_state = async {
        loop {
            ticks.tick().await;
            let states = stage.cluster.operator.shard_states(stage.host()).await?;
            let mut entries = states.split(", ");
            if entries.clone().count() == count && entries.all(|entry| entry.ends_with(state)) {
                return anyhow::Ok(());
            }
        }
    };
    timeout(RECORD_TIMEOUT, all_have_state)
        .await
        .with_context(|| format!("not all deckies are {state}\n{}", stage.agent.log()))?
}

/// Waits for the broadcast that an operation has ended, and returns the operation's record. Polling
/// would take CPU time from the teardown that is measured.
pub(super) async fn wait_for_end(
    broadcasts: &mut Broadcasts<OperationsUpdated>,
    id: OperationId,
) -> Result<OperationRecord> {
    let end = async {
        loop {
            let updated = broadcasts.next().await?.message.updated;
            let is_end = |it: &OperationRecord| it.operation_id == id && it.finished_at.is_some();
            if let Some(operation) = updated.into_iter().find(is_end) {
                return anyhow::Ok(operation);
            }
        }
    };
    timeout(TEARDOWN_TIMEOUT, end)
        .await
        .context("the teardown does not end")?
}
