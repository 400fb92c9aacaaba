//! A nats-server without accounts, which most workloads use.

use std::path::Path;

use anyhow::{Context, Result};
use async_nats::ConnectOptions;
use scuttle_tests::programs::process::Process;
use scuttle_tests::servers::nats_server::find_free_ports;
use scuttle_tests::{Client, wait_until};
use tokio::process::Command;

/// A running server with JetStream enabled. JetStream costs nothing until it is used. Dropping this
/// value kills the process.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) version: String,
    process: Process,
}

impl Server {
    /// Starts a server whose files are in `dir`, and waits until it accepts connections.
    /// `sync_interval` is JetStream's setting of the same name.
    pub(crate) async fn start(dir: &Path, name: &str, sync_interval: Option<&str>) -> Result<Self> {
        let [port] = find_free_ports()?;
        let store = dir.join(format!("{name}-jetstream"));
        let sync_interval = sync_interval.map(|interval| format!("sync_interval: {interval}"));
        let configuration = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\", {} }}\n",
            store.display(),
            sync_interval.unwrap_or_default()
        );
        let path = dir.join(format!("{name}.conf"));
        std::fs::write(&path, configuration)
            .with_context(|| format!("write {}", path.display()))?;
        let program = std::env::var_os("SCUTTLE_NATS_SERVER");
        let mut command = Command::new(program.unwrap_or_else(|| "nats-server".into()));
        command.arg("-c").arg(&path);
        let log = dir.join(format!("{name}.log"));
        let mut process = Process::spawn("nats-server", command, &log)?;
        let url = format!("nats://127.0.0.1:{port}");
        let connect = || async { connect(&url).await.map_err(|error| format!("{error:#}")) };
        let client = wait_until("nats-server accepts connections", connect, |_| true).await?;
        process.quiet = true;
        Ok(Self {
            version: client.nats().server_info().version,
            url,
            process,
        })
    }

    pub(crate) fn id(&self) -> Result<u32> {
        self.process.id().context("nats-server has ended")
    }
}

pub(crate) async fn connect(url: &str) -> Result<Client> {
    Client::connect_with(ConnectOptions::new(), url).await
}
