//! Runs the `scuttle` command on a swarm without a bus directory, with the users and passwords of
//! `nats.conf`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use scuttle_tests::programs::process::Process;
use scuttle_tests::programs::program_command;
use scuttle_tests::programs::scuttle::{CommandOutput, run_to_end};
use scuttle_tests::programs::workspace;
use scuttle_tests::{Cluster, Role};
use serde_json::Value;
use tokio::process::Command;

/// The `scuttle` command as run by one user with a separate home directory.
#[derive(Debug)]
pub(crate) struct Cli {
    /// The home directory and the working directory of the command.
    pub(crate) home: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Cli {
    /// Returns a command that connects to the cluster's first server as the user of this role.
    pub(crate) fn with_role(cluster: &Cluster, role: Role) -> Result<Self> {
        let mut environment = Vec::from(cluster.servers[0].environment(role));
        environment.push(("SCUTTLE_NATS_URL", cluster.servers[0].url()));
        Self::with_environment(cluster, environment)
    }

    /// Returns a command that runs with these environment variables, in a home directory below the
    /// cluster's directory.
    pub(crate) fn with_environment(
        cluster: &Cluster,
        environment: Vec<(&'static str, String)>,
    ) -> Result<Self> {
        Self::in_directory(cluster.path("home"), environment)
    }

    /// Returns a command that runs with these environment variables, in this home directory.
    /// Creates the directory if it is missing.
    pub(crate) fn in_directory(
        home: PathBuf,
        environment: Vec<(&'static str, String)>,
    ) -> Result<Self> {
        std::fs::create_dir_all(&home)?;
        Ok(Self { home, environment })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.prepare(program_command("scuttle"));
        command.args(arguments);
        command
    }

    /// Sets the home directory, the working directory and the environment of a command.
    pub(crate) fn prepare(&self, mut command: Command) -> Command {
        command
            .current_dir(&self.home)
            .env("HOME", &self.home)
            .env_remove("XDG_CONFIG_HOME")
            .envs(self.environment.iter().cloned());
        command
    }

    /// Runs the command with these arguments and waits until it exits.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<CommandOutput> {
        run_to_end(self.command(arguments), arguments).await
    }

    /// Starts the command in the background. Its output goes to the log of the returned process.
    pub(crate) fn start(&self, arguments: &[&str]) -> Result<Process> {
        let log = self.home.join(format!("{}.log", arguments[0]));
        Process::spawn("scuttle", self.command(arguments), &log)
    }

    /// Runs the command with `-o json`, checks its exit code, validates its output against the
    /// schema, and returns the output.
    pub(crate) async fn run_json(
        &self,
        arguments: &[&str],
        code: i32,
        schema: &str,
    ) -> Result<Value> {
        let ended = self.run(&[arguments, &["-o", "json"]].concat()).await?;
        ensure!(ended.code == code, "expected {code}: {ended:?}");
        let value = serde_json::from_str(&ended.stdout).with_context(|| format!("{ended:?}"))?;
        check_schema(schema, &value)?;
        Ok(value)
    }

    /// Runs the command with `-o jsonl`, which must succeed, and returns the parsed lines of its
    /// output.
    pub(crate) async fn run_jsonl(&self, arguments: &[&str]) -> Result<Vec<Value>> {
        let ended = self.run(&[arguments, &["-o", "jsonl"]].concat()).await?;
        let lines = ended.expect_success()?;
        let read = |line: &str| Ok(serde_json::from_str(line)?);
        lines.lines().map(read).collect()
    }
}

/// Validates a value against a JSON Schema in the repository. `schema` is, for example,
/// `cli/teardowns` for an output of the command, or `hosts_list` for a message.
pub(crate) fn check_schema(schema: &str, value: &Value) -> Result<()> {
    let path = match schema.strip_prefix("cli/") {
        Some(own) => format!("cli/schemas/{own}.json"),
        None => format!("schemas/json/{schema}.json"),
    };
    let path = workspace().join(path);
    let schema = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema)?)?;
    let faults: Vec<_> = validator
        .iter_errors(value)
        .map(|error| error.to_string())
        .collect();
    ensure!(
        faults.is_empty(),
        "{}: {faults:?} in {value:#}",
        path.display()
    );
    Ok(())
}
