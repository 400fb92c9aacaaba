//! `scuttle cancel`: an operation that no agent has started is withdrawn.

use clap::Args;
use scuttle_schemas::operations::{CancelAccepted, CancelRequest};
use scuttle_schemas::{OperationId, subjects};

use super::ops::target;
use crate::ask::Bus;
use crate::complete;
use crate::connect::Connect;
use crate::failure::Failure;
use crate::look;
use crate::output::Format;

/// Withdraws an operation that no agent has started.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle cancel 01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11
  scuttle ops --state queued -o jsonl | jq -r .operation_id | xargs -n1 scuttle cancel")]
pub(crate) struct Cancel {
    /// The operation's id.
    #[arg(value_name = "ID", add = complete::operations())]
    id: OperationId,
    #[command(flatten)]
    nats: Connect,
}

impl Cancel {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let bus = Bus::connect(&self.nats.connection()?).await?;
        let request = CancelRequest {
            operation_id: self.id,
        };
        let accepted: CancelAccepted = bus.ask(subjects::OPERATIONS_CANCEL, &request).await?;
        format.one(&accepted, || {
            let operation = &accepted.operation;
            let state = look::operation(operation.state);
            format!(
                "{} teardown of {}: nothing was removed.",
                look::Paint::stdout().text(state.tone, &state.text()),
                target(operation)
            )
        })
    }
}
