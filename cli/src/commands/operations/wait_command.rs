//! `scuttle wait`: waits for operations that already exist. The waiting itself is in `wait`, and
//! the report in `submit`.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use futures_util::future::{join_all, try_join_all};
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::teardown::{DETAIL_IN_PROGRESS, TeardownAccepted};

use super::submit::{Waiting, report_replies};
use crate::client::connection::ConnectionArgs;
use crate::client::lists;
use crate::client::nats_client::Client;
use crate::client::teardown::Target;
use crate::commands::operation_ref::OperationRef;
use crate::commands::shell::candidates;
use crate::failure::Failure;
use crate::output::format::Format;
use crate::parse::parse_timeout_s;

/// Wait until operations have ended, and report their results.
///
/// Shows the progress and the results as `scuttle teardown --wait` does. Operations that have
/// already ended are reported at once.
///
/// The exit code shows the most serious result: 0 if everything is removed, 5 if an operation timed
/// out or --timeout has passed, 1 if an operation failed or was cancelled, 3 if an operation does
/// not exist. Ctrl-C stops waiting and leaves the teardowns running.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle wait 01997c3e-5f1a --timeout 10m
  scuttle ops --state open -o jsonl | jq -r .operation_id | xargs scuttle wait")]
pub(crate) struct Wait {
    /// IDs of the operations, or the beginnings of the IDs.
    #[arg(required = true, value_name = "ID", add = candidates::complete_operations(is_open))]
    ids: Vec<OperationRef>,
    /// Maximum time to wait, such as 90s, 10m or 1h. The operations continue after that. If not
    /// given, waits until the operations end.
    #[arg(long, value_name = "TIME", value_parser = parse_timeout_s)]
    timeout: Option<u32>,
    #[command(flatten)]
    nats: ConnectionArgs,
}

impl Wait {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let client = Client::connect(&self.nats.resolve()?).await?;
        let ids = try_join_all(self.ids.iter().map(|id| id.resolve(&client))).await?;
        let ids: BTreeSet<_> = ids.into_iter().collect();
        let records = join_all(ids.iter().map(|id| lists::get_operation(&client, *id))).await;
        let records = records.into_iter().collect::<Result<Vec<_>, _>>()?;
        let targets: Vec<_> = records.iter().map(target_of).collect();
        let replies = records.iter().map(|record| Ok(to_reply(record))).collect();
        let limit = (self.timeout).map(|seconds| Duration::from_secs(seconds.into()));
        let waiting = Waiting::UntilEnd { limit };
        report_replies(&client, format, &targets, replies, waiting).await
    }
}

fn target_of(operation: &OperationRecord) -> Target {
    Target {
        host_uuid: operation.host_uuid.clone(),
        host_name: operation.host_name.clone(),
        decky_id: operation.decky_id.clone(),
    }
}

/// Returns the reply that a request for the operation's target would have got while the operation
/// was open.
fn to_reply(operation: &OperationRecord) -> TeardownAccepted {
    let counts = &operation.counts;
    TeardownAccepted {
        accepted: true,
        detail: DETAIL_IN_PROGRESS.to_owned(),
        operation_id: operation.operation_id,
        host_uuid: operation.host_uuid.clone(),
        host_name: operation.host_name.clone(),
        decky_id: operation.decky_id.clone(),
        shards: counts.pending + counts.removed + counts.absent + counts.failed,
        deadline: operation.deadline,
        repeated: true,
    }
}

fn is_open(state: OperationState) -> bool {
    matches!(state, OperationState::Queued | OperationState::Running)
}
