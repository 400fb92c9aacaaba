//! `scuttle ops`: what was asked for, newest first.

use clap::Args;
use scuttle_schemas::PageLimit;
use scuttle_schemas::operations::{OperationRecord, OperationState, OperationsListRequest};

use crate::ask::Bus;
use crate::complete;
use crate::connect::Connect;
use crate::failure::Failure;
use crate::output::Format;
use crate::table::{Cell, Column, Table};
use crate::words::word;
use crate::{lists, look};

/// Lists the operations, newest first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle ops
  scuttle ops --host worker-a --state failed
  scuttle ops --limit 1000 -o jsonl")]
pub(crate) struct Ops {
    /// Only this host's: its name or its id.
    #[arg(long, add = complete::hosts())]
    host: Option<String>,
    /// Only those in this state.
    #[arg(long, help = "Only those in this state: queued, running, succeeded, failed, timed_out or cancelled", value_parser = word::<OperationState>, add = complete::operation_states())]
    state: Option<OperationState>,
    /// At most so many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[command(flatten)]
    nats: Connect,
}

impl Ops {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let bus = Bus::connect(&self.nats.connection()?).await?;
        let host = match &self.host {
            Some(host) => Some(lists::host(&bus, host).await?.host_uuid),
            None => None,
        };
        let most = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let request = OperationsListRequest {
            host_uuid: host,
            state: self.state,
            after: None,
            limit: PageLimit::try_from(self.limit.min(1000)).unwrap_or_default(),
        };
        let list = lists::operations(&bus, request, most).await?;
        if list.operations.is_empty() && format.is_table() {
            eprintln!("There is no such operation on the record.");
        }
        format.many(&list, &list.operations, || table(&list.operations))
    }
}

fn table(operations: &[OperationRecord]) -> Table {
    let mut table = Table::new(&[
        Column::whole("OPERATION"),
        Column::new("TARGET"),
        Column::new("STATE"),
        Column::new("ASKED"),
        Column::new("BY"),
        Column::new("DECKIES"),
        Column::new("WHY"),
    ]);
    let now = look::now();
    for operation in operations {
        table.row([
            operation.operation_id.to_string().into(),
            target(operation).into(),
            look::operation(operation.state).into(),
            Cell::toned(look::Tone::Dim, &look::ago(operation.accepted_at, now)),
            operation.requested_by.as_str().into(),
            counts(operation).into(),
            why(operation),
        ]);
    }
    table
}

/// What it tears down: `worker-a/decky-03`, or `worker-a` for all of it.
pub(crate) fn target(operation: &OperationRecord) -> String {
    look::target(&operation.host_name, operation.decky_id.as_ref())
}

/// How many deckies are where, as far as there are any.
pub(crate) fn counts(operation: &OperationRecord) -> String {
    let counts = operation.counts;
    let parts = [
        (counts.pending, "pending"),
        (counts.removed, "removed"),
        (counts.absent, "absent"),
        (counts.failed, "failed"),
    ];
    let some = parts.iter().filter(|(count, _)| *count > 0);
    let some: Vec<_> = some
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    some.join(", ")
}

/// Why it failed, or what it waits for.
fn why(operation: &OperationRecord) -> Cell {
    match (&operation.error, &operation.waiting_for) {
        (Some(error), _) => Cell::toned(look::Tone::Bad, error.as_str()),
        (None, Some(waiting)) => Cell::from(waiting.detail.as_ref()),
        (None, None) => Cell::default(),
    }
}
