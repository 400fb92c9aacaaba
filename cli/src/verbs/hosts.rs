//! `scuttle hosts`: who is in the swarm.

use clap::Args;
use scuttle_schemas::Text;
use scuttle_schemas::hosts::{HostRecord, HostStatus};

use crate::ask::Bus;
use crate::connect::Connect;
use crate::failure::Failure;
use crate::output::Format;
use crate::table::{Cell, Column, Table};
use crate::{lists, look};

/// Lists the hosts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle hosts
  scuttle hosts --all                      # those that were decommissioned, too
  scuttle hosts -o jsonl | jq -r 'select(.status == \"offline\").name'")]
pub(crate) struct Hosts {
    /// Those that were decommissioned, too.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    nats: Connect,
}

impl Hosts {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let bus = Bus::connect(&self.nats.connection()?).await?;
        let mut list = lists::hosts(&bus).await?;
        let living = |host: &HostRecord| self.all || host.status != HostStatus::Decommissioned;
        list.hosts.retain(living);
        if list.hosts.is_empty() && format.is_table() {
            eprintln!("There is no host yet: `scuttle enroll NAME` lets one in.");
        }
        format.many(&list, &list.hosts, || table(&list.hosts))
    }
}

fn table(hosts: &[HostRecord]) -> Table {
    let mut table = Table::new(&[
        Column::new("HOST"),
        Column::new("STATUS"),
        Column::new("DECKIES"),
        Column::new("OPEN"),
        Column::new("HEARD"),
        Column::new("AGENT"),
        Column::new("ADDRESS"),
        Column::whole("ID"),
        Column::new("TROUBLE"),
    ]);
    let now = look::now();
    for host in hosts {
        let heard = host.last_heartbeat.map(|at| look::ago(at, now));
        let text = |text: Option<&str>| Cell::from(text.unwrap_or(""));
        table.row([
            host.name.as_str().into(),
            look::host(host.status).into(),
            host.shards.to_string().into(),
            host.open_operations.to_string().into(),
            Cell::toned(look::Tone::Dim, heard.as_deref().unwrap_or("never")),
            text(host.agent_version.as_ref().map(Text::as_str)),
            text(host.address.as_deref()),
            Cell::toned(look::Tone::Dim, host.host_uuid.as_str()),
            Cell::toned(
                look::Tone::Warn,
                (host.inventory_error.as_ref()).map_or("", |error| error.as_str()),
            ),
        ]);
    }
    table
}
