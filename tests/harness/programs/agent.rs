//! Runs `scuttle-agent` as a child process.

use std::path::{Path, PathBuf};

use anyhow::Result;
use scuttle_schemas::HostId;
use tokio::process::Command;

use super::process::Process;
use super::program_path;

/// The options with which an agent is started.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    pub url: String,
    /// The NATS credentials, as `SCUTTLE_NATS_…` environment variables.
    pub login: Vec<(&'static str, String)>,
    pub host: HostId,
    /// The address of the Docker Engine's socket, as `--docker` expects it.
    pub docker: String,
    /// The agent's data directory. The log file is next to it, with the extension `log`.
    pub data_dir: PathBuf,
    /// Further command-line flags.
    pub flags: Vec<String>,
    /// A program with its arguments that replaces itself with the agent, such as `nsenter`. Empty
    /// if the agent is started directly.
    pub launcher: Vec<String>,
}

impl AgentOptions {
    /// Starts the agent. When this returns, the agent may not have sent a report yet.
    pub fn start(&self) -> Result<Process> {
        let agent = program_path("scuttle-agent");
        let mut command = match self.launcher.split_first() {
            None => Command::new(agent),
            Some((launcher, arguments)) => {
                let mut command = Command::new(launcher);
                command.args(arguments).arg(agent);
                command
            }
        };
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
