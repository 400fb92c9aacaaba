//! The `scuttle` command on a swarm that has no bus directory: users and passwords of `nats.conf`.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use scuttle_tests::cluster::bus::{Ended, ended};
use scuttle_tests::programs::bare;
use scuttle_tests::programs::process::Process;
use scuttle_tests::programs::workspace;
use scuttle_tests::{Role, Swarm};
use serde_json::Value;
use tokio::process::Command;

/// The command, as one user, in a folder and a home of its own.
#[derive(Debug)]
pub(crate) struct Cli {
    /// Its folder and its home.
    pub(crate) home: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Cli {
    /// The command as a user of this role.
    ///
    /// # Errors
    /// There is no folder for it.
    pub(crate) fn of(swarm: &Swarm, role: Role) -> Result<Self> {
        let mut environment = Vec::from(swarm.nats.environment(role));
        environment.push(("SCUTTLE_NATS_URL", swarm.nats.url()));
        Self::with(swarm, environment)
    }

    /// The command with this environment alone.
    ///
    /// # Errors
    /// There is no folder for it.
    pub(crate) fn with(swarm: &Swarm, environment: Vec<(&'static str, String)>) -> Result<Self> {
        Self::at(swarm.path("home"), environment)
    }

    /// The same, in this folder.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn at(home: PathBuf, environment: Vec<(&'static str, String)>) -> Result<Self> {
        std::fs::create_dir_all(&home)?;
        Ok(Self { home, environment })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.on(bare("scuttle"));
        command.args(words);
        command
    }

    /// A command, in the folder and with the home and the environment of this one.
    pub(crate) fn on(&self, mut command: Command) -> Command {
        command
            .current_dir(&self.home)
            .env("HOME", &self.home)
            .env_remove("XDG_CONFIG_HOME")
            .envs(self.environment.iter().cloned());
        command
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// It cannot be started, or does not end.
    pub(crate) async fn run(&self, words: &[&str]) -> Result<Ended> {
        ended(self.command(words), words).await
    }

    /// Runs it in the background; what it writes is in its log.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(&self, words: &[&str]) -> Result<Process> {
        let log = self.home.join(format!("{}.log", words[0]));
        Process::spawn("scuttle", self.command(words), &log)
    }

    /// Runs it with `-o json`, and gives what it wrote, which must be valid.
    ///
    /// # Errors
    /// The exit code is another, or what it wrote breaks its schema.
    pub(crate) async fn json(&self, words: &[&str], code: i32, schema: &str) -> Result<Value> {
        let ended = self.run(&[words, &["-o", "json"]].concat()).await?;
        ensure!(ended.code == code, "expected {code}: {ended:?}");
        let value = serde_json::from_str(&ended.out).with_context(|| format!("{ended:?}"))?;
        valid(schema, &value)?;
        Ok(value)
    }

    /// Runs it with `-o jsonl`, and gives the lines.
    ///
    /// # Errors
    /// It fails, or writes something else.
    pub(crate) async fn lines(&self, words: &[&str]) -> Result<Vec<Value>> {
        let ended = self.run(&[words, &["-o", "jsonl"]].concat()).await?;
        let lines = ended.done()?;
        let read = |line: &str| Ok(serde_json::from_str(line)?);
        lines.lines().map(read).collect()
    }
}

/// Checks a value against a checked-in schema: `cli/teardowns`, or `hosts_list` for a message.
///
/// # Errors
/// It breaks it.
pub(crate) fn valid(schema: &str, value: &Value) -> Result<()> {
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
