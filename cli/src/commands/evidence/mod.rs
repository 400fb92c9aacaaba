//! `scuttle evidence`: the archives that an agent has kept of torn-down deckies. It reads the
//! directory on the agent's host and does not connect to the server.

mod list;
mod sidecar;

use clap::{Args, Subcommand};

use crate::failure::Failure;
use crate::output::format::Format;

/// List the evidence that the agent of this host has kept.
///
/// The agent keeps evidence only with --evidence-dir: see docs/evidence.md.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sudo scuttle evidence list
  sudo scuttle evidence list --verify")]
pub(crate) struct Evidence {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    List(list::List),
}

impl Evidence {
    pub(crate) fn run(self, format: Format) -> Result<(), Failure> {
        match self.verb {
            Verb::List(verb) => verb.run(format),
        }
    }
}
