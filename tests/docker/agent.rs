//! Runs `scuttle-agent` as a child process.

use std::path::{Path, PathBuf};

use anyhow::Result;
use scuttle_schemas::HostId;
use scuttle_tests::programs::process::Process;
use scuttle_tests::programs::program_path;
use tokio::process::Command;

/// The options with which an agent is started.
#[derive(Debug, Clone)]
pub(crate) struct AgentOptions {
    pub(crate) url: String,
    /// The NATS credentials, as `SCUTTLE_NATS_…` environment variables.
    pub(crate) login: Vec<(&'static str, String)>,
    pub(crate) host: HostId,
    /// The address of the Docker Engine's socket, as `--docker` expects it.
    pub(crate) docker: String,
    /// The agent's data directory. The log file is next to it, with the extension `log`.
    pub(crate) data_dir: PathBuf,
    /// Further command-line flags.
    pub(crate) flags: Vec<String>,
}

impl AgentOptions {
    /// Starts the agent. When this returns, the agent might not have sent a report yet.
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
