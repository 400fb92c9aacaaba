//! The command line and the environment.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::Parser;
use scuttle_nats::{Arguments, ConnectConfig, Credentials, Secret};
use scuttle_schemas::{HostId, MAX_DECKIES_PER_HOST};

/// Runs many agents in one process, on a real NATS server, over a simulated runtime.
///
/// Prints `ready: N hosts, M deckies` when the controller has accepted every host's inventory, and one line a second
/// with what was done. What happens is decided by the seed.
#[derive(Debug, Clone, Parser)]
#[command(name = "scuttle-agent-sim", version)]
pub struct Args {
    /// Enrol the hosts first, and wait until the controller has answered.
    #[arg(long, env = "SCUTTLE_SIM_ENROLL")]
    pub enroll: bool,
    /// The NATS user that enrols; the agents' own credentials if absent.
    #[arg(
        long,
        env = "SCUTTLE_OPERATOR_USER",
        value_name = "USER",
        requires = "operator_password"
    )]
    pub operator_user: Option<String>,
    /// Its password; better given in the environment.
    #[arg(
        long,
        env = "SCUTTLE_OPERATOR_PASSWORD",
        value_name = "PASSWORD",
        hide_env_values = true
    )]
    pub operator_password: Option<Secret>,
    /// How many hosts.
    #[arg(long, env = "SCUTTLE_SIM_HOSTS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub hosts: u32,
    /// How many deckies each host begins with.
    #[arg(long, env = "SCUTTLE_SIM_DECKIES_PER_HOST", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=MAX_DECKIES_PER_HOST as i64))]
    pub deckies_per_host: u32,
    /// What the hosts' names and ids begin with: sim-0001, sim-0002, …
    #[arg(long, env = "SCUTTLE_SIM_HOST_PREFIX", default_value = "sim", value_parser = prefix, value_name = "PREFIX")]
    pub host_prefix: String,
    /// How long a teardown takes, in milliseconds.
    #[arg(long, env = "SCUTTLE_SIM_TEARDOWN_MS", default_value = "200..2000", value_parser = millis, value_name = "FROM..TO")]
    pub teardown_ms: RangeInclusive<u64>,
    /// After how long a removed decky is deployed anew, in milliseconds, drawn from the seed; never if absent.
    #[arg(long, env = "SCUTTLE_SIM_REDEPLOY_MS", value_parser = millis, value_name = "FROM..TO")]
    pub redeploy_ms: Option<RangeInclusive<u64>>,
    /// The share of deckies whose teardown fails the first time after each deployment.
    #[arg(long, env = "SCUTTLE_SIM_FAIL_RATE", default_value_t = 0.0, value_parser = rate, value_name = "0..1")]
    pub fail_rate: f64,
    /// The share of hosts that go away for a few seconds now and then.
    #[arg(long, env = "SCUTTLE_SIM_OFFLINE_RATE", default_value_t = 0.0, value_parser = rate, value_name = "0..1")]
    pub offline_rate: f64,
    /// The share of teardowns in whose middle the agent crashes, to start again with a new boot.
    #[arg(long, env = "SCUTTLE_SIM_CRASH_RATE", default_value_t = 0.0, value_parser = rate, value_name = "0..1")]
    pub crash_rate: f64,
    /// The share of heartbeats, results and progress that are sent twice.
    #[arg(long, env = "SCUTTLE_SIM_DUPLICATE_RATE", default_value_t = 0.0, value_parser = rate, value_name = "0..1")]
    pub duplicate_rate: f64,
    /// Milliseconds between a host's heartbeats.
    #[arg(long, env = "SCUTTLE_SIM_HEARTBEAT_MS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=3_600_000))]
    pub heartbeat_ms: u32,
    /// Decides what happens.
    #[arg(long, env = "SCUTTLE_SIM_SEED", default_value_t = 1)]
    pub seed: u64,
    /// Keep ledgers, deckies and a log of what was done to them (`world.log`) here, so that a killed simulator goes on
    /// where it was (two open files a host: see `ulimit -n`). In memory if absent.
    #[arg(long, env = "SCUTTLE_SIM_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Last, with the next, because its heading holds for all that follows.
    #[command(flatten)]
    pub telemetry: scuttle_telemetry::Arguments,
    #[command(flatten)]
    nats: Arguments,
}

impl Args {
    /// How the agents connect.
    pub fn connect_config(&self) -> ConnectConfig {
        self.nats.connect_config()
    }

    /// How the hosts are enrolled.
    pub fn operator_connect_config(&self) -> ConnectConfig {
        let mut access = self.connect_config();
        if let (Some(user), Some(password)) = (&self.operator_user, &self.operator_password) {
            access.credentials = Credentials::Password {
                user: user.clone(),
                password: password.clone(),
            };
        }
        access
    }
}

fn prefix(text: &str) -> Result<String, String> {
    // With the longest number that can follow it.
    match format!("{text}-100000").parse::<HostId>() {
        Ok(_) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err("it must be 1 to 57 of A-Z a-z 0-9 _ -".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err("it must be a number from 0 to 1".to_owned()),
    }
}

fn millis(text: &str) -> Result<RangeInclusive<u64>, String> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    match (from.parse(), to.parse()) {
        (Ok(from), Ok(to)) if from <= to && to <= 86_400_000 => Ok(from..=to),
        _ => {
            Err("it must be FROM..TO in milliseconds, as in 200..2000, at most 86400000".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Args;

    #[test]
    fn the_command_line_is_consistent_and_checked() {
        Args::command().debug_assert();
        let read = |words: &[&str]| Args::try_parse_from([&["scuttle-agent-sim"], words].concat());
        assert_eq!(
            read(&["--teardown-ms", "5..7"]).expect("read").teardown_ms,
            5..=7
        );
        assert_eq!(
            read(&["--teardown-ms", "5"]).expect("read").teardown_ms,
            5..=5
        );
        for wrong in [
            ["--teardown-ms", "7..5"],
            ["--fail-rate", "1.1"],
            ["--fail-rate", "NaN"],
            ["--host-prefix", "a.b"],
            ["--hosts", "0"],
        ] {
            assert!(read(&wrong).is_err(), "{wrong:?}");
        }
    }
}
