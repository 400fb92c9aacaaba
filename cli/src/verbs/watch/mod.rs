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
/// With -o jsonl each change is a line of JSON, after everything that there is. Press ? on the screen for its keys.
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
        let screen = match format {
            Format::Jsonl => false,
            Format::Json => {
                return Err(Failure::Usage(
                    "watch never ends, so it is no one document: use -o jsonl".to_owned(),
                ));
            }
            Format::Table if io::stdout().is_terminal() && io::stdin().is_terminal() => true,
            Format::Table => {
                return Err(Failure::Usage(
                    "watch draws on a terminal, and there is none: use -o jsonl for a stream of changes".to_owned(),
                ));
            }
        };
        let bus = Bus::connect(&self.nats.connection()?).await?;
        if screen {
            screen::run(bus).await
        } else {
            stream::run(&bus).await
        }
    }
}
