//! `scuttle cancel`: cancels an operation that no agent has started.

use clap::Args;
use scuttle_schemas::operations::{CancelAccepted, CancelRequest, OperationState};
use scuttle_schemas::subjects;

use crate::client::connection::ConnectionArgs;
use crate::client::nats_client::Client;
use crate::commands::operation_ref::OperationRef;
use crate::commands::shell::candidates;
use crate::failure::Failure;
use crate::output::format::Format;
use crate::output::message::print_line;
use crate::output::operation::describe_target;
use crate::output::style::{self, Colors};

/// Cancel an operation that no agent has started.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle cancel 01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11
  scuttle ops --state queued -o jsonl | jq -r .operation_id |
    xargs -n1 scuttle cancel")]
pub(crate) struct Cancel {
    /// ID of the operation, or the beginning of the ID.
    #[arg(value_name = "ID", add = candidates::complete_operations(is_queued))]
    id: OperationRef,
    #[command(flatten)]
    nats: ConnectionArgs,
}

impl Cancel {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let client = Client::connect(&self.nats.resolve()?).await?;
        let request = CancelRequest {
            operation_id: self.id.resolve(&client).await?,
        };
        let accepted: CancelAccepted = client
            .request(subjects::OPERATIONS_CANCEL, &request)
            .await?;
        print_line(format!("Swarm: {}.", client.swarm()));
        format.write_one(&accepted, || {
            let operation = &accepted.operation;
            let state = style::operation_label(operation.state);
            format!(
                "{} teardown of {}: nothing was removed.",
                Colors::stdout().apply(state.tone, &state.text()),
                describe_target(operation)
            )
        })
    }
}

fn is_queued(state: OperationState) -> bool {
    state == OperationState::Queued
}
