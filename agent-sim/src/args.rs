//! The options of `scuttle-agent-sim`.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::Parser;
use scuttle_nats::{Arguments, ConnectConfig, Credentials, Secret};
use scuttle_schemas::{HostId, MAX_DECKIES_PER_HOST};

/// Runs many agents with a simulated runtime in one process, on a real NATS server.
///
/// Prints `ready: N hosts, M deckies` when the controller has accepted the inventory of every host,
/// and a status line every second. The seed determines all random decisions.
#[derive(Debug, Clone, Parser)]
#[command(name = "scuttle-agent-sim", version)]
pub struct Args {
    /// Enroll the hosts before their agents start, and wait until the controller has accepted them
    #[arg(long, env = "SCUTTLE_SIM_ENROLL")]
    pub enroll: bool,
    /// The NATS user that enrolls the hosts [default: the credentials of the agents]
    #[arg(long, env = "SCUTTLE_OPERATOR_USER", value_name = "USER")]
    pub operator_user: Option<String>,
    /// The password of the user that enrolls the hosts; prefer the environment variable, because
    /// flags are visible in the process list
    #[arg(
        long,
        env = "SCUTTLE_OPERATOR_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true
    )]
    pub operator_password: Option<Secret>,
    /// The number of hosts
    #[arg(long, env = "SCUTTLE_SIM_HOSTS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub hosts: u32,
    /// The number of deckies that each host starts with
    #[arg(long, env = "SCUTTLE_SIM_DECKIES_PER_HOST", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=MAX_DECKIES_PER_HOST as i64))]
    pub deckies_per_host: u32,
    /// The prefix of each host's name and id: with sim, these are sim-0001, sim-0002, …
    #[arg(long, env = "SCUTTLE_SIM_HOST_PREFIX", default_value = "sim", value_parser = parse_prefix, value_name = "PREFIX")]
    pub host_prefix: String,
    /// The duration of a teardown in milliseconds
    #[arg(long, env = "SCUTTLE_SIM_TEARDOWN_MS", default_value = "200..2000", value_parser = parse_range, value_name = "FROM..TO")]
    pub teardown_ms: RangeInclusive<u64>,
    /// The maximum number of teardowns of different deckies that a host runs at the same time
    #[arg(long, env = "SCUTTLE_SIM_CONCURRENCY", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub concurrency: u8,
    /// The delay in milliseconds after which a removed decky is deployed again [default: never]
    #[arg(long, env = "SCUTTLE_SIM_REDEPLOY_MS", value_parser = parse_range, value_name = "FROM..TO")]
    pub redeploy_ms: Option<RangeInclusive<u64>>,
    /// The share of deployments whose first teardown fails
    #[arg(long, env = "SCUTTLE_SIM_FAIL_RATE", default_value_t = 0.0, value_parser = parse_rate, value_name = "0..1")]
    pub fail_rate: f64,
    /// The share of hosts that disconnect for a few seconds from time to time
    #[arg(long, env = "SCUTTLE_SIM_OFFLINE_RATE", default_value_t = 0.0, value_parser = parse_rate, value_name = "0..1")]
    pub offline_rate: f64,
    /// The share of teardowns during which the agent crashes and restarts
    #[arg(long, env = "SCUTTLE_SIM_CRASH_RATE", default_value_t = 0.0, value_parser = parse_rate, value_name = "0..1")]
    pub crash_rate: f64,
    /// The share of heartbeats, results and progress messages that are sent twice
    #[arg(long, env = "SCUTTLE_SIM_DUPLICATE_RATE", default_value_t = 0.0, value_parser = parse_rate, value_name = "0..1")]
    pub duplicate_rate: f64,
    /// The heartbeat interval in milliseconds
    #[arg(long, env = "SCUTTLE_SIM_HEARTBEAT_MS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=3_600_000))]
    pub heartbeat_ms: u32,
    /// The seed of all random decisions
    #[arg(long, env = "SCUTTLE_SIM_SEED", default_value_t = 1)]
    pub seed: u64,
    /// The directory for ledgers, deckies and logs of all actions (`world.log`). A killed simulator
    /// continues from these files. Each host needs two open files (see `ulimit -n`) [default: in
    /// memory]
    #[arg(long, env = "SCUTTLE_SIM_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    // The flattened groups come last, because their help headings apply to everything that follows.
    #[command(flatten)]
    pub telemetry: scuttle_telemetry::Arguments,
    #[command(flatten)]
    nats: Arguments,
}

/// The error for an operator user that is given without a password.
#[derive(Debug, thiserror::Error)]
#[error("--operator-user is given without --operator-password, but both are required")]
pub struct OperatorError;

impl Args {
    /// Returns the connection settings of the agents.
    pub fn connect_config(&self) -> ConnectConfig {
        self.nats.connect_config()
    }

    /// Returns the connection settings for enrolling the hosts: those of the agents, but with the
    /// operator's user and password if they are given.
    ///
    /// # Errors
    /// If the operator's user is given without a password.
    pub fn operator_connect_config(&self) -> Result<ConnectConfig, OperatorError> {
        let mut config = self.connect_config();
        match (&self.operator_user, &self.operator_password) {
            (Some(user), Some(password)) => {
                config.credentials = Credentials::Password {
                    user: user.clone(),
                    password: password.clone(),
                };
            }
            (Some(_), None) => return Err(OperatorError),
            (None, _) => {}
        }
        Ok(config)
    }
}

fn parse_prefix(text: &str) -> Result<String, String> {
    // The prefix must be valid with the longest number that can follow it.
    match format!("{text}-100000").parse::<HostId>() {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err("it must have 1 to 57 characters from A-Z a-z 0-9 _ -".to_owned()),
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err("it must be a number from 0 to 1".to_owned()),
    }
}

fn parse_range(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) if from <= to && to <= 86_400_000 => Ok(from..=to),
        _ => Err(
            "it must be FROM..TO in milliseconds, such as 200..2000, at most 86400000".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Args;

    #[test]
    fn options_are_parsed_and_checked() {
        Args::command().debug_assert();
        let parse = |words: &[&str]| Args::try_parse_from([&["scuttle-agent-sim"], words].concat());
        assert_eq!(
            parse(&["--teardown-ms", "5..7"])
                .expect("parsed")
                .teardown_ms,
            5..=7
        );
        assert_eq!(
            parse(&["--teardown-ms", "5"]).expect("parsed").teardown_ms,
            5..=5
        );
        for wrong in [
            ["--teardown-ms", "7..5"],
            ["--fail-rate", "1.1"],
            ["--fail-rate", "NaN"],
            ["--host-prefix", "a.b"],
            ["--hosts", "0"],
            ["--concurrency", "0"],
        ] {
            assert!(parse(&wrong).is_err(), "{wrong:?}");
        }
    }
}
