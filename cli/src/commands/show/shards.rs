//! `scuttle shards`: lists the deckies of all hosts.

use std::cmp::Ordering;

use clap::{Args, ValueEnum};
use scuttle_schemas::operations::explain_error;
use scuttle_schemas::shards::{ShardRecord, ShardState, ShardsListRequest};

use super::columns::ColumnsOption;
use super::sort::{Sort, parse_sort};
use crate::client::connection::ConnectionArgs;
use crate::client::lists;
use crate::client::nats_client::Client;
use crate::clock;
use crate::commands::shell::candidates;
use crate::failure::Failure;
use crate::output::format::Format;
use crate::output::style::{self, Tone};
use crate::output::table::{Cell, Column, Table};
use crate::parse::{has_labels, parse_label, parse_state};

/// List deckies, with their hosts and states.
#[derive(Debug, Args)]
#[command(
    visible_alias = "deckies",
    after_help = "Examples:
  scuttle shards
  scuttle shards worker-a
  scuttle shards --state teardown_failed -o json"
)]
pub(crate) struct Shards {
    /// List only deckies of this host (name or ID).
    #[arg(add = candidates::complete_hosts())]
    host: Option<String>,
    /// List only deckies in this state; can be repeated.
    #[arg(long = "state", value_name = "STATE", help = "List only deckies in this state: pending, running, degraded, failed, tearing_down or teardown_failed; can be repeated", value_parser = parse_state::<ShardState>, add = candidates::complete_shard_states())]
    states: Vec<ShardState>,
    /// List only deckies with this label; can be repeated.
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    #[arg(long, value_name = "COLUMN", help = SORT_HELP, allow_hyphen_values = true, value_parser = parse_sort::<SortColumn>)]
    sort: Option<Sort<SortColumn>>,
    #[command(flatten)]
    columns: ColumnsOption,
    #[command(flatten)]
    nats: ConnectionArgs,
}

/// The columns of the list.
const COLUMNS: [Column; 8] = [
    Column::name("HOST"),
    Column::name("DECKY"),
    Column::new("STATUS"),
    Column::explanation("PROBLEM"),
    Column::new("LAST SEEN"),
    Column::new("SERVICES"),
    Column::new("ADDRESS"),
    Column::new("LABELS"),
];

const SORT_HELP: &str = "Sort by host, decky, status or last-seen. A leading - reverses the order, as in --sort=-last-seen";

/// The columns by which the list can be sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SortColumn {
    Host,
    Decky,
    Status,
    LastSeen,
}

fn compare(column: SortColumn, one: &ShardRecord, other: &ShardRecord) -> Ordering {
    match column {
        SortColumn::Host => one.host_name.cmp(&other.host_name),
        SortColumn::Decky => one.decky_id.cmp(&other.decky_id),
        SortColumn::Status => one.state.cmp(&other.state),
        // The decky that was not seen for the longest time comes first.
        SortColumn::LastSeen => one.last_seen.cmp(&other.last_seen),
    }
}

impl Shards {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let columns = self.columns.select(&COLUMNS, format)?;
        let client = Client::connect(&self.nats.resolve()?).await?;
        let host = match &self.host {
            Some(host) => Some(lists::resolve_host(&client, host).await?.host_uuid),
            None => None,
        };
        let request = ShardsListRequest {
            host_uuid: host,
            // The controller filters by one state.
            state: match self.states.as_slice() {
                [state] => Some(*state),
                _ => None,
            },
            ..ShardsListRequest::default()
        };
        let mut list = lists::list_shards(&client, request).await?;
        list.shards.retain(|shard| {
            let is_in_state = self.states.is_empty() || self.states.contains(&shard.state);
            is_in_state && has_labels(&shard.labels, &self.labels)
        });
        if let Some(sort) = self.sort {
            sort.apply(&mut list.shards, compare);
        }
        if list.shards.is_empty() && format.is_table() {
            let found = if self.host.is_none() && self.states.is_empty() && self.labels.is_empty() {
                "No deckies."
            } else {
                "No deckies match."
            };
            eprintln!("{found}");
        }
        format.write_list(&list, &list.shards, || {
            columns.apply(build_table(&list.shards))
        })
    }
}

fn build_table(shards: &[ShardRecord]) -> Table {
    let mut table = Table::new(&COLUMNS);
    let now = clock::now();
    for shard in shards {
        let last_seen = style::format_relative(shard.last_seen, now);
        table.add_row([
            shard.host_name.as_str().into(),
            shard.decky_id.as_str().into(),
            Cell::protectable(style::shard_label(shard.state), shard.protected),
            Cell::styled(
                Tone::Error,
                &explain_error(shard.last_error.as_ref().map_or("", |error| error.as_str())),
            ),
            Cell::styled(Tone::Dim, &last_seen),
            shard.services.join(",").into(),
            shard.decky_ip.as_deref().unwrap_or("").into(),
            style::format_labels(&shard.labels).into(),
        ]);
    }
    table
}
