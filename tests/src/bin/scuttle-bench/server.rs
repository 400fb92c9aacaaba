//! A plain nats-server without accounts: the same for all that is compared.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use anyhow::Result;
use async_nats::ConnectOptions;
use scuttle_tests::process::Process;
use scuttle_tests::{Client, until};
use tokio::process::Command;

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) version: String,
    _process: Process,
}

impl Server {
    /// Starts a server, and waits until it lets clients in.
    pub(crate) async fn start(dir: &Path) -> Result<Self> {
        let port = free_port()?;
        let program = std::env::var_os("SCUTTLE_NATS_SERVER");
        let mut command = Command::new(program.unwrap_or_else(|| "nats-server".into()));
        command.args(["-a", "127.0.0.1", "-p", &port.to_string()]);
        let mut process = Process::spawn("nats-server", command, &dir.join("nats.log"))?;
        let url = format!("nats://127.0.0.1:{port}");
        let connect = || async { connect(&url).await.map_err(|error| format!("{error:#}")) };
        let client = until("nats-server lets clients in", connect, |_| true).await?;
        process.quiet = true;
        Ok(Self {
            version: client.nats().server_info().version,
            url,
            _process: process,
        })
    }
}

/// Connects to the server.
pub(crate) async fn connect(url: &str) -> Result<Client> {
    Client::with(ConnectOptions::new(), url).await
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}
