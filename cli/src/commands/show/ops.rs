//! `scuttle ops`: lists operations.

use clap::Args;
use scuttle_schemas::PageLimit;
use scuttle_schemas::operations::{OperationRecord, OperationState, OperationsListRequest};

use crate::client::connection::ConnectionArgs;
use crate::client::lists;
use crate::client::nats_client::Client;
use crate::clock;
use crate::commands::shell::candidates;
use crate::failure::Failure;
use crate::output::format::Format;
use crate::output::operation::{format_counts, format_operation_target};
use crate::output::style::{self, Tone};
use crate::output::table::{Cell, Column, Table};
use crate::parse::parse_state;

/// List operations, newest first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle ops
  scuttle ops --host worker-a --state failed
  scuttle ops --limit 1000 -o jsonl")]
pub(crate) struct Ops {
    /// List only operations on this host (name or ID).
    #[arg(long, add = candidates::complete_hosts())]
    host: Option<String>,
    /// List only operations in this state.
    #[arg(long, help = "List only operations in this state: queued, running, succeeded, failed, timed_out or cancelled", value_parser = parse_state::<OperationState>, add = candidates::complete_operation_states())]
    state: Option<OperationState>,
    /// Maximum number of operations to list.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    nats: ConnectionArgs,
}

impl Ops {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let client = Client::connect(&self.nats.resolve()?).await?;
        let host = match &self.host {
            Some(host) => Some(lists::resolve_host(&client, host).await?.host_uuid),
            None => None,
        };
        let max = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let request = OperationsListRequest {
            host_uuid: host,
            state: self.state,
            after: None,
            limit: PageLimit::try_from(self.limit.min(1000)).unwrap_or_default(),
        };
        let list = lists::list_operations(&client, request, max).await?;
        if list.operations.is_empty() && format.is_table() {
            eprintln!("No operations found.");
        }
        format.write_list(&list, &list.operations, || build_table(&list.operations))
    }
}

fn build_table(operations: &[OperationRecord]) -> Table {
    let mut table = Table::new(&[
        Column::uncut("ID"),
        Column::new("TARGET"),
        Column::new("STATUS"),
        Column::new("AGE"),
        Column::new("REQUESTED BY"),
        Column::new("DECKIES"),
        Column::new("MESSAGE"),
    ]);
    let now = clock::now();
    for operation in operations {
        let age = style::format_age(operation.accepted_at, now);
        table.add_row([
            operation.operation_id.to_string().into(),
            format_operation_target(operation).into(),
            style::operation_label(operation.state).into(),
            Cell::styled(Tone::Dim, &age),
            operation.requested_by.as_str().into(),
            format_counts(operation).into(),
            message_cell(operation),
        ]);
    }
    table
}

/// Returns a cell with the error of an operation that failed or timed out, or with what an open
/// operation is waiting for. The cell is empty if there is neither.
fn message_cell(operation: &OperationRecord) -> Cell {
    match (&operation.error, &operation.waiting_for) {
        (Some(error), _) => Cell::styled(Tone::Error, error.as_str()),
        (None, Some(waiting)) => Cell::from(waiting.detail.as_ref()),
        (None, None) => Cell::default(),
    }
}
