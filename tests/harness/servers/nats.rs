//! A real nats-server with the project's `nats.conf`, its own port, directory and passwords.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::http::Http;
use crate::programs::process::Process;
use crate::programs::workspace;
use crate::roles::{Passwords, Role};
use crate::servers::nats_server::{Server, Setup};

/// A nats-server. Dropping it kills it and removes what it stored.
#[derive(Debug)]
pub struct Nats {
    server: Server,
    setup: Setup,
    passwords: Passwords,
    /// Removed with the server, unless the directory is somebody else's.
    _own: Option<TempDir>,
}

impl Nats {
    /// Starts a server on a free port.
    ///
    /// # Errors
    /// There is no nats-server, or it does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(str::to_owned).await
    }

    /// Starts a server on a free port, with what `change` makes of `nats.conf`.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_with(change: impl FnOnce(&str) -> String) -> Result<Self> {
        let own = tempfile::tempdir().context("make a directory for nats-server")?;
        let configuration = std::fs::read_to_string(configuration())?;
        let changed = own.path().join("nats.conf");
        std::fs::write(&changed, change(&configuration))?;
        let started = Self::launch(own.path(), changed).await?;
        Ok(Self {
            _own: Some(own),
            ..started
        })
    }

    /// Starts a server on a free port, whose files and log are in `dir`, and stay.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_in(dir: &Path) -> Result<Self> {
        Self::launch(dir, configuration()).await
    }

    async fn launch(dir: &Path, configuration: PathBuf) -> Result<Self> {
        let passwords = Passwords::make();
        let setup = Setup {
            configuration,
            dir: dir.to_owned(),
            store: Some(dir.join("store")),
            environment: passwords.of_server(),
        };
        Self::start_as(setup, passwords).await
    }

    /// Starts a server on a free port, with a setup that takes these passwords.
    ///
    /// # Errors
    /// As `start`.
    pub(crate) async fn start_as(setup: Setup, passwords: Passwords) -> Result<Self> {
        Ok(Self {
            server: Server::start(&setup, None).await?,
            setup,
            passwords,
            _own: None,
        })
    }

    /// Kills the server at once (SIGKILL).
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        self.server.process.kill().await
    }

    /// Stops the server as its service manager would (SIGTERM), and waits for its end.
    ///
    /// # Errors
    /// It does not stop.
    pub async fn stop(&mut self) -> Result<()> {
        self.server.stop().await
    }

    /// Starts the server again after `stop` or `kill`: same port, same passwords, same store.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart(&mut self) -> Result<()> {
        self.server = Server::start(&self.setup, Some(self.server.port)).await?;
        Ok(())
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.server.process
    }

    /// A server that is not running, on a port that was free a moment ago: `restart` starts it.
    ///
    /// # Errors
    /// There is no nats-server.
    pub async fn stopped() -> Result<Self> {
        let mut nats = Self::start().await?;
        nats.stop().await?;
        Ok(nats)
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.server.port)
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.server.port
    }

    /// Where browsers connect, if `nats.conf` has a WebSocket listener.
    pub fn websocket_url(&self) -> Option<String> {
        Some(format!("ws://127.0.0.1:{}", self.server.websocket_port?))
    }

    /// Where the server tells of itself over HTTP, if its configuration says so.
    pub fn monitor(&self) -> Option<Http> {
        let address = format!("127.0.0.1:{}", self.server.monitor_port?);
        Some(Http { address })
    }

    /// Everybody's password.
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// The password of a role's user.
    pub fn password(&self, role: Role) -> &str {
        self.passwords.of(role)
    }

    /// The environment of a Scuttle program that connects as `role`.
    pub fn environment(&self, role: Role) -> [(&'static str, String); 2] {
        self.passwords.environment(role)
    }

    /// Options to connect as `role`: quick to come back when the server does.
    pub fn options(&self, role: Role) -> async_nats::ConnectOptions {
        self.passwords.options(role)
    }
}

/// The project's configuration.
fn configuration() -> PathBuf {
    workspace().join("nats.conf")
}
