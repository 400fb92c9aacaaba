//! `scuttle ops`: lists operations.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use clap::{Args, ValueEnum};
use scuttle_schemas::operations::{OperationRecord, explain_error};
use scuttle_schemas::{DeckyId, Timestamp};

use super::columns::ColumnsOption;
use super::sort::{Sort, parse_sort};
use crate::client::connection::ConnectionArgs;
use crate::client::lists::{self, OperationsFilter};
use crate::client::nats_client::Client;
use crate::clock;
use crate::commands::operation_ref::unique_prefix_length;
use crate::commands::shell::candidates;
use crate::failure::Failure;
use crate::output::format::{self, Format};
use crate::output::local_time;
use crate::output::operation::{format_counts, format_operation_target};
use crate::output::style::{self, Tone};
use crate::output::table::{Cell, Column, Table};
use crate::parse::{OperationStates, parse_operation_states, parse_span};

/// List operations, newest first.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle ops
  scuttle ops --host worker-a --state failed --state timed_out
  scuttle ops --user alice --since 24h
  scuttle ops --sort=-age --limit 200
  scuttle ops --limit 1000 -o jsonl")]
pub(crate) struct Ops {
    /// List only operations on this host (name or ID).
    #[arg(long, add = candidates::complete_all_hosts())]
    host: Option<String>,
    /// List only operations on this decky. An operation on its whole host is not listed.
    #[arg(long, value_name = "ID")]
    decky: Option<DeckyId>,
    /// List only operations in this state; can be repeated.
    #[arg(long = "state", value_name = "STATE", help = "List only operations in this state: queued, running, succeeded, failed, timed_out, cancelled, or open (queued or running); can be repeated", value_parser = parse_operation_states, add = candidates::complete_operation_states())]
    states: Vec<OperationStates>,
    /// List only operations that this user requested.
    #[arg(long)]
    user: Option<String>,
    /// List only operations that were accepted within this time, such as 90s, 10m or 24h.
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    since: Option<Duration>,
    /// Maximum number of operations to list.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    #[arg(long, value_name = "COLUMN", help = SORT_HELP, allow_hyphen_values = true, value_parser = parse_sort::<SortColumn>)]
    sort: Option<Sort<SortColumn>>,
    #[command(flatten)]
    columns: ColumnsOption,
    #[command(flatten)]
    nats: ConnectionArgs,
}

/// The columns of the list.
const COLUMNS: [Column; 7] = [
    Column::name("TARGET"),
    Column::new("STATUS"),
    Column::new("AGE"),
    Column::explanation("PROGRESS OR PROBLEM"),
    Column::uncut(ID_HEADING),
    Column::new("REQUESTED BY"),
    Column::new("DECKIES"),
];

const SORT_HELP: &str = "Sort the listed operations by target, status, age or user. A leading - reverses the order, as in --sort=-age";

/// The columns by which the list can be sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SortColumn {
    Target,
    Status,
    Age,
    User,
}

fn compare(column: SortColumn, one: &OperationRecord, other: &OperationRecord) -> Ordering {
    match column {
        SortColumn::Target => {
            let target = |operation: &OperationRecord| {
                (operation.host_name.clone(), operation.decky_id.clone())
            };
            target(one).cmp(&target(other))
        }
        SortColumn::Status => one.state.cmp(&other.state),
        // The youngest operation comes first.
        SortColumn::Age => other.accepted_at.cmp(&one.accepted_at),
        SortColumn::User => one.requested_by.cmp(&other.requested_by),
    }
}

impl Ops {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let columns = self.columns.select(&COLUMNS, format)?;
        let client = Client::connect(&self.nats.resolve()?).await?;
        let host = match &self.host {
            Some(host) => Some(lists::resolve_host(&client, host).await?.host_uuid),
            None => None,
        };
        let max = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let since = self.since.map(|since| {
            let millis = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
            Timestamp::from_millis(clock::now().as_millis().saturating_sub(millis))
        });
        let filter = OperationsFilter {
            host_uuid: host,
            decky: self.decky,
            states: self
                .states
                .into_iter()
                .flat_map(|states| states.0)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
            user: self.user,
            since,
        };
        let mut list = lists::list_operations(&client, &filter, max).await?;
        if let Some(sort) = self.sort {
            sort.apply(&mut list.operations, compare);
        }
        if list.operations.is_empty() && format.is_table() {
            eprintln!("{}", describe_no_match(&filter, self.host.as_deref()));
        }
        if list.next.is_some() {
            eprintln!(
                "Only the newest {} are listed: --limit NUMBER lists more.",
                list.operations.len()
            );
        }
        let id_length = match format {
            Format::Wide => usize::MAX,
            _ => unique_prefix_length(&list.operations),
        };
        let table = columns.apply(build_table(&list.operations, id_length));
        if format == Format::Table
            && !list.operations.is_empty()
            && table.drops(ID_HEADING, format::terminal_width())
        {
            eprintln!("The IDs do not fit: `scuttle ops -o wide` shows them.");
        }
        format.write_list(&list, &list.operations, || table)
    }
}

const ID_HEADING: &str = "ID";

/// Returns the message for an empty list, which repeats the filters. A misspelt value then stands
/// out. `host` is the host as it was typed.
fn describe_no_match(filter: &OperationsFilter, host: Option<&str>) -> String {
    let mut text = "No operations".to_owned();
    if let Some(host) = host {
        let _ = write!(text, " on host {host}");
    }
    if let Some(decky) = &filter.decky {
        let _ = write!(text, " on decky {decky}");
    }
    if let Some(user) = &filter.user {
        let _ = write!(text, " requested by {user}");
    }
    if !filter.states.is_empty() {
        let words = (filter.states.iter()).map(|state| style::operation_label(*state).word);
        let _ = write!(text, " in state {}", words.collect::<Vec<_>>().join(" or "));
    }
    if let Some(since) = filter.since {
        let since = local_time::format_date_and_time(since);
        let _ = write!(text, " accepted since {since}");
    }
    text + "."
}

/// Builds the table. Ids are shortened to `id_length` characters.
fn build_table(operations: &[OperationRecord], id_length: usize) -> Table {
    let mut table = Table::new(&COLUMNS);
    let now = clock::now();
    for operation in operations {
        let id: String = (operation.operation_id.to_string().chars())
            .take(id_length)
            .collect();
        let age = style::format_age(operation.accepted_at, now);
        table.add_row([
            format_operation_target(operation).into(),
            style::operation_label(operation.state).into(),
            Cell::styled(Tone::Dim, &age),
            message_cell(operation),
            id.into(),
            operation.requested_by.as_str().into(),
            format_counts(operation).into(),
        ]);
    }
    table
}

/// Returns a cell with the error of an operation that failed or timed out, or with what an open
/// operation is waiting for. The cell is empty if there is neither.
fn message_cell(operation: &OperationRecord) -> Cell {
    match (&operation.error, &operation.waiting_for) {
        (Some(error), _) => Cell::styled(Tone::Error, &explain_error(error.as_str())),
        (None, Some(waiting)) => Cell::from(style::shorten_waiting(&waiting.detail)),
        (None, None) => Cell::default(),
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::operations::OperationState;

    use super::{OperationsFilter, describe_no_match};

    #[test]
    fn the_message_for_an_empty_list_repeats_the_filters() {
        let filter = OperationsFilter {
            user: Some("bobby".to_owned()),
            states: vec![OperationState::Queued, OperationState::TimedOut],
            ..OperationsFilter::default()
        };
        assert_eq!(
            describe_no_match(&filter, Some("worker-a")),
            "No operations on host worker-a requested by bobby in state queued or timed out."
        );
        assert_eq!(
            describe_no_match(&OperationsFilter::default(), None),
            "No operations."
        );
    }
}
