//! `scuttle-agent` as a child process.

use std::path::{Path, PathBuf};

use anyhow::Result;
use scuttle_schemas::HostId;
use scuttle_tests::programs::process::Process;
use scuttle_tests::programs::program_path;
use tokio::process::Command;

/// How an agent is started.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The NATS server.
    pub(crate) url: String,
    /// `SCUTTLE_NATS_…`: who it is there.
    pub(crate) login: Vec<(&'static str, String)>,
    /// Its host.
    pub(crate) host: HostId,
    /// The Engine's socket, as `--docker` takes it.
    pub(crate) docker: String,
    /// The directory of its ledger; its log is beside it.
    pub(crate) data_dir: PathBuf,
    /// More flags.
    pub(crate) flags: Vec<String>,
}

impl Plan {
    /// Starts the agent; it need not have reported yet.
    ///
    /// # Errors
    /// There is no such program.
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
