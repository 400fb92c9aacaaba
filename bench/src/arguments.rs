//! The command line of `scuttle-bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Measure Scuttle and compare it with the limits of the message bus and the disk
///
/// Without a command, runs accept, peers, cluster, teardown and scale.
#[derive(Debug, Parser)]
#[command(name = "scuttle-bench", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Durably accepted teardowns per second, compared with an echo service
    Accept,
    /// Accepted teardowns per second, compared with JetStream and with the same rule over
    /// SQLite
    Peers,
    /// Accepted teardowns per second of three controllers over three servers, compared with
    /// publishing to JetStream
    Cluster,
    /// Accepted teardowns per second and CPU time per message with 1, 2 and 4 partitions
    Partitions,
    /// Complete teardowns per second on 1,000 simulated hosts, from request to broadcast
    Teardown,
    /// A million shards on ten thousand hosts: accepted teardowns, memory, start, heartbeats,
    /// listing, checkpoints
    Scale,
    /// 300,000 open operations on 1,000 hosts with silent agents: accepted teardowns, and the cost
    /// of an idle controller
    Backlog,
    /// How operators and other agents are served while one agent floods the controller
    Flood(FloodArgs),
    /// Teardowns on a real Docker Engine, compared with `docker compose down` and
    /// `docker rm --force`, and the cost of an idle agent
    Docker(DockerArgs),
    /// Send requests: the measurements start this in a separate process
    #[command(hide = true)]
    Generate,
    /// Serve as the echo service: the measurements start this in a separate process
    #[command(hide = true)]
    Echo { url: String, subject: String },
    /// Read a controller's file: `scale` starts this in a separate process
    #[command(hide = true)]
    ReadStore { data_dir: PathBuf },
    /// Apply the teardown rule to a SQLite file: `peers` starts this in a separate process
    #[command(hide = true)]
    Sqlite {
        url: String,
        subject: String,
        path: PathBuf,
        hosts: u32,
        deckies: u32,
    },
}

/// The options of every measurement.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Number of rounds, each of which measures everything that is compared
    #[arg(long, global = true, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,
    /// Seconds to measure each service per round. A measurement of more than one second includes
    /// commands that the controller resends because no agent has answered them
    #[arg(long, global = true, default_value = "0.9", value_parser = parse_seconds)]
    pub(crate) seconds: Duration,
    /// Print one JSON object instead of tables
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Fail if a target is missed
    #[arg(long, global = true)]
    pub(crate) check: bool,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FloodArgs {
    /// Seconds that each flood lasts
    #[arg(long = "flood-seconds", default_value = "4", value_parser = parse_seconds)]
    pub(crate) seconds: Duration,
    /// Number of connections over which the agent floods
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) connections: u8,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DockerArgs {
    /// Seconds that a container may take to stop before it is killed, for Scuttle and for Compose
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub(crate) grace_s: u32,
    /// Measure only the idle agent
    #[arg(long)]
    pub(crate) idle_only: bool,
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if (0.1..=60.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("it must be a number from 0.1 to 60".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Args::command().debug_assert();
    }
}
