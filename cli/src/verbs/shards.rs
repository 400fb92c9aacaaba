//! `scuttle shards`: what runs where.

use clap::Args;
use scuttle_schemas::shards::{ShardRecord, ShardState, ShardsListRequest};

use crate::ask::Bus;
use crate::complete;
use crate::connect::Connect;
use crate::failure::Failure;
use crate::output::Format;
use crate::table::{Cell, Column, Table};
use crate::words::word;
use crate::{lists, look};

/// Lists the shards: each decky on each host.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle shards
  scuttle shards worker-a
  scuttle shards --state teardown_failed -o json")]
pub(crate) struct Shards {
    /// Only this host's: its name or its id.
    #[arg(add = complete::hosts())]
    host: Option<String>,
    /// Only those in this state.
    #[arg(long, help = "Only those in this state: pending, running, degraded, failed, tearing_down or teardown_failed", value_parser = word::<ShardState>, add = complete::shard_states())]
    state: Option<ShardState>,
    #[command(flatten)]
    nats: Connect,
}

impl Shards {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        let bus = Bus::connect(&self.nats.connection()?).await?;
        let host = match &self.host {
            Some(host) => Some(lists::host(&bus, host).await?.host_uuid),
            None => None,
        };
        let request = ShardsListRequest {
            host_uuid: host,
            state: self.state,
            ..ShardsListRequest::default()
        };
        let list = lists::shards(&bus, request).await?;
        if list.shards.is_empty() && format.is_table() {
            eprintln!("There is no such shard on the record.");
        }
        format.many(&list, &list.shards, || table(&list.shards))
    }
}

fn table(shards: &[ShardRecord]) -> Table {
    let mut table = Table::new(&[
        Column::new("HOST"),
        Column::new("DECKY"),
        Column::new("STATE"),
        Column::new("ADDRESS"),
        Column::new("SERVICES"),
        Column::new("SEEN"),
        Column::new("ERROR"),
    ]);
    let now = look::now();
    for shard in shards {
        table.row([
            shard.host_name.as_str().into(),
            shard.decky_id.as_str().into(),
            look::shard(shard.state).into(),
            shard.decky_ip.as_deref().unwrap_or("").into(),
            shard.services.join(",").into(),
            Cell::toned(look::Tone::Dim, &look::ago(shard.last_seen, now)),
            Cell::toned(
                look::Tone::Bad,
                shard.last_error.as_ref().map_or("", |error| error.as_str()),
            ),
        ]);
    }
    table
}
