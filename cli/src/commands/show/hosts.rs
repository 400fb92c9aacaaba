//! `scuttle hosts`: lists hosts.

use std::cmp::Ordering;

use clap::{Args, ValueEnum};
use scuttle_schemas::Text;
use scuttle_schemas::hosts::{HostRecord, HostStatus};

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

/// List hosts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle hosts
  scuttle hosts worker-a
  scuttle hosts --status offline --sort last-seen
  scuttle hosts --all                      # include decommissioned hosts
  scuttle hosts -o jsonl | jq -r 'select(.status == \"offline\").name'")]
pub(crate) struct Hosts {
    /// List only this host (name or ID).
    #[arg(add = candidates::complete_all_hosts())]
    host: Option<String>,
    /// List only hosts with this status; can be repeated.
    #[arg(long = "status", value_name = "STATUS", help = "List only hosts with this status: enrolled, online, offline or decommissioned; can be repeated", value_parser = parse_state::<HostStatus>)]
    statuses: Vec<HostStatus>,
    /// List only hosts with this label; can be repeated.
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Include decommissioned hosts.
    #[arg(long)]
    all: bool,
    #[arg(long, value_name = "COLUMN", help = SORT_HELP, allow_hyphen_values = true, value_parser = parse_sort::<SortColumn>)]
    sort: Option<Sort<SortColumn>>,
    #[command(flatten)]
    columns: ColumnsOption,
    #[command(flatten)]
    nats: ConnectionArgs,
}

/// The columns of the list.
const COLUMNS: [Column; 11] = [
    Column::name("NAME"),
    Column::new("STATUS"),
    Column::new("DECKIES"),
    Column::new("OPEN"),
    Column::new("LAST SEEN"),
    Column::explanation("PROBLEM"),
    Column::explanation("NOTES"),
    Column::new("AGENT"),
    Column::new("ADDRESS"),
    Column::uncut("ID"),
    Column::new("LABELS"),
];

const SORT_HELP: &str = "Sort by name, status, deckies, open or last-seen. A leading - reverses the order, as in --sort=-deckies";

/// The columns by which the list can be sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SortColumn {
    Name,
    Status,
    Deckies,
    Open,
    LastSeen,
}

fn compare(column: SortColumn, one: &HostRecord, other: &HostRecord) -> Ordering {
    match column {
        SortColumn::Name => one.name.cmp(&other.name),
        SortColumn::Status => one.status.cmp(&other.status),
        SortColumn::Deckies => one.shards.cmp(&other.shards),
        SortColumn::Open => one.open_operations.cmp(&other.open_operations),
        // The host that was silent for the longest time comes first.
        SortColumn::LastSeen => one.last_heartbeat.cmp(&other.last_heartbeat),
    }
}

impl Hosts {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let columns = self.columns.select(&COLUMNS, format)?;
        let client = Client::connect(&self.nats.resolve()?).await?;
        let mut list = lists::list_hosts(&client).await?;
        if let Some(host) = &self.host {
            list.hosts = vec![lists::find_host(&list.hosts, host)?.clone()];
        }
        let is_listed = |host: &HostRecord| match (self.statuses.as_slice(), &self.host) {
            ([], None) => self.all || host.status != HostStatus::Decommissioned,
            ([], Some(_)) => true,
            (statuses, _) => statuses.contains(&host.status),
        };
        list.hosts
            .retain(|host| is_listed(host) && has_labels(&host.labels, &self.labels));
        if let Some(sort) = self.sort {
            sort.apply(&mut list.hosts, compare);
        }
        if list.hosts.is_empty() && format.is_table() {
            if self.statuses.is_empty() && self.labels.is_empty() {
                eprintln!("No hosts. `scuttle enroll NAME` adds a host.");
            } else {
                eprintln!("No hosts match.");
            }
        }
        format.write_list(&list, &list.hosts, || {
            columns.apply(build_table(&list.hosts))
        })
    }
}

fn build_table(hosts: &[HostRecord]) -> Table {
    let mut table = Table::new(&COLUMNS);
    let now = clock::now();
    for host in hosts {
        let heartbeat = host.last_heartbeat;
        let heartbeat = heartbeat.map(|at| style::format_relative(at, now));
        let text = |text: Option<&str>| Cell::from(text.unwrap_or(""));
        table.add_row([
            host.name.as_str().into(),
            Cell::protectable(style::host_label(host.status), host.protected),
            host.shards.to_string().into(),
            host.open_operations.to_string().into(),
            Cell::styled(Tone::Dim, heartbeat.as_deref().unwrap_or("never")),
            Cell::styled(
                Tone::Warning,
                (host.inventory_error.as_ref()).map_or("", |error| error.as_str()),
            ),
            style::format_notes(&host.notes).into(),
            text(host.agent_version.as_ref().map(Text::as_str)),
            text(host.address.as_deref()),
            Cell::styled(Tone::Dim, host.host_uuid.as_str()),
            style::format_labels(&host.labels).into(),
        ]);
    }
    table
}
