//! `scuttle watch`: the swarm as it is now, on a whole screen for people or as a stream of JSON lines for programs. What is known
//! is `live`'s matter.

mod app;
mod draw;
mod screen;
mod stream;

use std::io::{self, IsTerminal};

use clap::Args;

use crate::ask::Bus;
use crate::connect::Connect;
use crate::failure::Failure;
use crate::output::Format;

/// Shows hosts, shards and operations as they change, on the whole screen, with keys to filter, tear down, retry and cancel.
///
/// With -o jsonl each change is a line of JSON, after everything that there is; with -o json it is one document of what there is
/// now, and the command ends. Press ? on the screen for its keys.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle watch
  scuttle watch -o jsonl | jq -c 'select(.event == \"operation\") | .operation.state'")]
pub(crate) struct Watch {
    #[command(flatten)]
    nats: Connect,
}

impl Watch {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        if format.is_table() && !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
            return Err(Failure::Usage(
                "watch draws on a terminal, and there is none: use -o jsonl for a stream of changes".to_owned(),
            ));
        }
        let bus = Bus::connect(&self.nats.connection()?).await?;
        match format {
            Format::Table => screen::run(bus).await,
            Format::Json => stream::once(&bus).await,
            Format::Jsonl => stream::run(&bus).await,
        }
    }
}
