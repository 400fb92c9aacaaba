//! `scuttle-agent` as a child process.

use std::path::{Path, PathBuf};

use anyhow::Result;
use scuttle_schemas::HostId;
use scuttle_tests::programs::process::Process;
use scuttle_tests::programs::program_path;
use tokio::process::Command;

/// The options of an agent.
#[derive(Debug, Clone)]
pub(crate) struct AgentOptions {
    /// The URL of the NATS server.
    pub(crate) url: String,
    /// The credentials, as `SCUTTLE_NATS_…` variables.
    pub(crate) login: Vec<(&'static str, String)>,
    /// The host.
    pub(crate) host: HostId,
    /// The socket of the Engine, in the form of `--docker`.
    pub(crate) docker: String,
    /// The data directory. The log is next to it.
    pub(crate) data_dir: PathBuf,
    /// More flags.
    pub(crate) flags: Vec<String>,
}

impl AgentOptions {
    /// Starts the agent. It may not have reported yet.
    pub(crate) fn start(&self) -> Result<Process> {
        let mut command = Command::new(program_path("scuttle-agent"));
        command
            .args(["--nats-url", &self.url, "--host-uuid", self.host.as_str()])
            .args(["--runtime", "docker", "--docker", &self.docker])
            .arg("--data-dir")
            .arg(&self.data_dir)
            .args(&self.flags)
            .envs(self.login.clone());
        Process::spawn("the agent", command, &log_path(&self.data_dir))
    }
}

fn log_path(dir: &Path) -> PathBuf {
    dir.with_extension("log")
}
