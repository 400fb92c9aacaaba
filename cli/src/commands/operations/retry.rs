//! `scuttle retry`: requests another teardown of each decky whose teardown failed.

use clap::Args;
use futures_util::future::join_all;
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::shards::{ShardRecord, ShardState, ShardsListRequest};

use super::submit::{Waiting, report_replies};
use crate::client::connection::ConnectionArgs;
use crate::client::lists;
use crate::client::nats_client::Client;
use crate::client::teardown::{TeardownOptions, retry_teardown, select_retry_targets};
use crate::commands::operation_ref::OperationRef;
use crate::commands::shell::candidates;
use crate::failure::Failure;
use crate::output::format::Format;
use crate::output::operation::describe_target;
use crate::output::style;
use crate::parse::parse_timeout_s;

/// Retry the teardown of each decky whose teardown failed.
///
/// A decky that was deployed again since its teardown failed is not torn down.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle retry 01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11 --wait
  scuttle retry --host worker-a")]
pub(crate) struct Retry {
    /// ID of an ended operation, or the beginning of the ID: retries the deckies that the operation
    /// failed to tear down.
    #[arg(value_name = "ID", add = candidates::complete_operations(may_have_failed), conflicts_with = "host")]
    id: Option<OperationRef>,
    /// Retry all deckies on this host (name or ID) whose teardown failed.
    #[arg(long, add = candidates::complete_hosts())]
    host: Option<String>,
    /// Wait until all operations have ended, and report their results.
    #[arg(long)]
    wait: bool,
    /// Time after which each operation times out, such as 90s, 10m or 1h.
    #[arg(long, value_name = "TIME", value_parser = parse_timeout_s, default_value = "10m")]
    timeout: u32,
    /// Reason to record with each operation.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Tear down protected deckies too: those that `scuttle protect` or the label
    /// scuttle.protected=true protects.
    #[arg(long)]
    override_protection: bool,
    #[command(flatten)]
    nats: ConnectionArgs,
}

impl Retry {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        // Clap would name only the ID.
        if self.id.is_none() && self.host.is_none() {
            return Err(Failure::Usage(
                "nothing to retry: give the ID of an operation, or --host HOST".to_owned(),
            ));
        }
        let client = Client::connect(&self.nats.resolve()?).await?;
        let (host_uuid, operation) = match (&self.id, &self.host) {
            (Some(id), _) => {
                let operation = lists::get_operation(&client, id.resolve(&client).await?).await?;
                (operation.host_uuid.clone(), Some(operation))
            }
            (None, host) => {
                let host = host.as_deref().unwrap_or_default();
                let host = lists::resolve_host(&client, host).await?;
                (host.host_uuid, None)
            }
        };
        if let Some(operation) = &operation
            && operation.finished_at.is_none()
        {
            return Err(Failure::Conflict(format!(
                "cannot retry {id}: the operation is still {state}; `scuttle op {id}` shows its progress",
                id = operation.operation_id,
                state = style::operation_label(operation.state).word,
            )));
        }
        let request = ShardsListRequest {
            host_uuid: Some(host_uuid),
            state: Some(ShardState::TeardownFailed),
            ..ShardsListRequest::default()
        };
        let shards = lists::list_shards(&client, request).await?.shards;
        let failed = select_retry_targets(
            &shards,
            operation.as_ref().map(|operation| operation.operation_id),
        );
        if failed.is_empty() {
            let reason = explain_nothing_to_retry(&shards, operation.as_ref());
            eprintln!("Nothing to retry: {reason}.");
        }
        let options = TeardownOptions {
            timeout_s: self.timeout,
            reason: self.reason,
            expect_plan: None,
            override_protection: self.override_protection,
            wait: self.wait,
        };
        let requests = failed
            .iter()
            .map(|decky| retry_teardown(&client, decky, &options));
        let replies = join_all(requests).await;
        let targets: Vec<_> = failed.into_iter().map(|decky| decky.target).collect();
        let waiting = Waiting::from_option(self.wait);
        report_replies(&client, format, &targets, replies, waiting).await
    }
}

/// Returns the reason why there is nothing to retry.
///
/// `failed` lists the shards of the host whose teardown failed. `operation` is the operation to
/// retry, or `None` if the whole host was given.
fn explain_nothing_to_retry(failed: &[ShardRecord], operation: Option<&OperationRecord>) -> String {
    let Some(operation) = operation else {
        return "no teardown of a decky on this host has failed".to_owned();
    };
    let state = style::operation_label(operation.state).word;
    let target = describe_target(operation);
    let rest = if failed.is_empty() {
        "no failed deckies are left".to_owned()
    } else {
        format!(
            "the failed deckies on {host} belong to other operations: `scuttle retry --host {host}` retries those",
            host = operation.host_name
        )
    };
    format!("the teardown of {target} has ended ({state}), and {rest}")
}

/// Returns whether an operation in this state may have left deckies that can be retried.
fn may_have_failed(state: OperationState) -> bool {
    matches!(state, OperationState::Failed | OperationState::TimedOut)
}
