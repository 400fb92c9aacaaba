//! `scuttle op`: describes one operation.

use clap::Args;
use scuttle_schemas::operations::OperationGetReply;

use crate::client::connection::ConnectionArgs;
use crate::client::lists;
use crate::client::nats_client::Client;
use crate::clock;
use crate::commands::operation_ref::OperationRef;
use crate::commands::shell::candidates;
use crate::failure::Failure;
use crate::output::format::{self, Format};
use crate::output::operation::describe;
use crate::output::style::Colors;

/// Describe one operation: its progress, the event that it waits for, and the outcome of each
/// decky.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle op 01997c3e-5f1a
  scuttle op 01997c3e-5f1a -o json | jq .operation.waiting_for")]
pub(crate) struct Op {
    /// ID of the operation, or the beginning of the ID.
    #[arg(value_name = "ID", add = candidates::complete_operations(|_| true))]
    id: OperationRef,
    #[command(flatten)]
    nats: ConnectionArgs,
}

impl Op {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let client = Client::connect(&self.nats.resolve()?).await?;
        let operation = lists::get_operation(&client, self.id.resolve(&client).await?).await?;
        if format == Format::Jsonl {
            return format::write_json_line(&operation);
        }
        // Only a text proposes a next step. Without the host, it proposes fewer.
        let host = if operation.finished_at.is_none() && format.is_table() {
            let found = lists::get_host(&client, &operation.host_uuid).await;
            found.ok().flatten()
        } else {
            None
        };
        let status = host.map(|host| host.status);
        let reply = OperationGetReply { operation };
        format.write_one(&reply, || {
            let width = format::terminal_width();
            describe(
                &reply.operation,
                status,
                clock::now(),
                width,
                Colors::stdout(),
            )
        })
    }
}
