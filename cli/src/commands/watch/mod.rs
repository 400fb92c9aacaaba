//! `scuttle watch`: shows the current state of the swarm, in a full-screen view for people or as
//! JSON for programs.

mod json_output;

use std::io::{self, IsTerminal};

use clap::Args;

use crate::client::connection::ConnectionArgs;
use crate::client::nats_client::Client;
use crate::failure::Failure;
use crate::output::format::Format;
use crate::tui::screen;

/// Watch hosts, deckies and operations in a full-screen view.
///
/// The screen has keys to filter, tear down, retry and cancel; press ? for help. With -o jsonl, the
/// command prints all current records and then each change, one JSON object per line. With -o json,
/// it prints one document with the current records and exits.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  scuttle watch
  scuttle watch -o jsonl | jq -c 'select(.event == \"operation\").operation.state'")]
pub(crate) struct Watch {
    #[command(flatten)]
    nats: ConnectionArgs,
}

impl Watch {
    pub(crate) async fn run(self, format: Format) -> Result<(), Failure> {
        if format.is_table() && !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
            return Err(Failure::Usage(
                "cannot show the screen of watch: there is no terminal; use -o jsonl for a stream of changes".to_owned(),
            ));
        }
        let client = Client::connect(&self.nats.resolve()?).await?;
        match format {
            Format::Table | Format::Wide => screen::run(client).await,
            Format::Json => json_output::write_snapshot(&client).await,
            Format::Jsonl => json_output::run(&client).await,
        }
    }
}
