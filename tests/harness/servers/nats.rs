//! A nats-server with the project's `nats.conf`, on a free port, with generated passwords.

use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::nats_server::{NatsServer, ServerSetup};
use crate::http::Http;
use crate::programs::controller::Controller;
use crate::programs::process::Process;
use crate::programs::workspace;
use crate::roles::{Passwords, Role};

/// A nats-server with the users of `nats.conf`. Dropping this value kills the process.
#[derive(Debug)]
pub struct Nats {
    server: NatsServer,
    setup: ServerSetup,
    passwords: Passwords,
    /// The server's directory, if it is temporary. Dropping this field removes the directory.
    _temporary: Option<TempDir>,
}

impl Nats {
    /// Starts a server with its files in a temporary directory.
    pub async fn start() -> Result<Self> {
        Self::start_with(str::to_owned).await
    }

    /// Starts a server with its files in a temporary directory. `edit` changes the text of
    /// `nats.conf`.
    pub async fn start_with(edit: impl FnOnce(&str) -> String) -> Result<Self> {
        let dir = tempfile::tempdir().context("create a directory for nats-server")?;
        let started = Self::start_in(dir.path(), edit).await?;
        Ok(Self {
            _temporary: Some(dir),
            ..started
        })
    }

    /// Starts a server whose files and log are in `dir` and are not removed. `edit` changes the
    /// text of `nats.conf`.
    pub async fn start_in(dir: &Path, edit: impl FnOnce(&str) -> String) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let nats_conf = std::fs::read_to_string(workspace().join("nats.conf"))?;
        let configuration = dir.join("nats.conf");
        std::fs::write(&configuration, edit(&nats_conf))?;
        let passwords = Passwords::generate();
        let setup = ServerSetup {
            configuration,
            dir: dir.to_owned(),
            store: Some(dir.join("store")),
            environment: passwords.server_environment(),
        };
        Self::start_from_setup(setup, passwords).await
    }

    /// Starts a server from a setup whose environment contains `passwords`.
    pub(super) async fn start_from_setup(setup: ServerSetup, passwords: Passwords) -> Result<Self> {
        Ok(Self {
            server: NatsServer::start(&setup, None).await?,
            setup,
            passwords,
            _temporary: None,
        })
    }

    /// Starts a server on a free port and stops it again. [`restart`](Self::restart) restarts the
    /// server on this port.
    pub async fn start_stopped() -> Result<Self> {
        let mut nats = Self::start().await?;
        nats.stop().await?;
        Ok(nats)
    }

    /// Kills the server (SIGKILL).
    pub async fn kill(&mut self) -> Result<()> {
        self.server.process.kill().await
    }

    /// Stops the server as a service manager would (SIGTERM), and waits for it to exit.
    pub async fn stop(&mut self) -> Result<()> {
        self.server.stop().await
    }

    /// Starts the server again after [`stop`](Self::stop) or [`kill`](Self::kill), with the same
    /// port, passwords and store.
    pub async fn restart(&mut self) -> Result<()> {
        self.server = NatsServer::start(&self.setup, Some(self.server.port)).await?;
        Ok(())
    }

    /// Starts a controller that connects to this server; see [`Controller::start`].
    pub fn start_controller(&self, data_dir: &Path) -> Result<Controller> {
        let environment = self.environment(Role::Controller).into();
        Controller::start(&self.url(), environment, data_dir)
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.server.process
    }

    /// Returns the URL for clients.
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Returns the port for clients.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// Returns the URL for browsers, or `None` if the configuration has no WebSocket listener.
    pub fn websocket_url(&self) -> Option<String> {
        Some(format!("ws://127.0.0.1:{}", self.server.websocket_port?))
    }

    /// Returns the HTTP monitoring endpoint, or `None` if the configuration has no such endpoint.
    pub fn monitor(&self) -> Option<Http> {
        let address = format!("127.0.0.1:{}", self.server.monitor_port?);
        Some(Http { address })
    }

    /// Returns the passwords of all users.
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    pub fn password(&self, role: Role) -> &str {
        self.passwords.password(role)
    }

    /// Returns the environment variables with which a Scuttle program connects as `role`.
    pub fn environment(&self, role: Role) -> [(&'static str, String); 2] {
        self.passwords.environment(role)
    }

    /// Returns options for connecting as `role`, and for reconnecting after a short delay.
    pub fn connect_options(&self, role: Role) -> async_nats::ConnectOptions {
        self.passwords.connect_options(role)
    }
}
