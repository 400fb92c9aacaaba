//! The command-line arguments of the demo.

use clap::Parser;

use crate::scale::MIN_HOSTS;

/// Tears down deckies and whole hosts of a simulated swarm, and prints what happens.
///
/// Starts a nats-server, a controller and the simulated hosts. Stops all of them at the end, even
/// after an error.
#[derive(Debug, Parser)]
#[command(name = "scuttle-demo", version)]
pub(crate) struct Args {
    /// Keep the swarm running after the demo: print how to connect, then every change, until
    /// Ctrl-C. Always on when standard output is a terminal
    #[arg(long)]
    pub(crate) keep: bool,
    /// Number of simulated hosts
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(MIN_HOSTS as i64..=1000))]
    pub(crate) hosts: u32,
    /// Number of deckies on each host
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) deckies_per_host: u32,
    /// Seed that decides how long each teardown takes, which teardowns fail, and which agents crash
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Run as the inner process, in the process group of the programs that it starts
    #[arg(long, hide = true)]
    pub(crate) inside: bool,
}
