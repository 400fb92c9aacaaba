//! A real nats-server with the project's `nats.conf`, its own port, directory and passwords.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use uuid::Uuid;

use crate::process::Process;
use crate::server::{Server, Setup};

/// Who connects: a user of `nats.conf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The controller.
    Controller,
    /// The agents of all hosts.
    Agents,
    /// An operator.
    Operator,
    /// A viewer.
    Viewer,
}

impl Role {
    const ALL: [Self; 4] = [Self::Controller, Self::Agents, Self::Operator, Self::Viewer];

    /// The user's name.
    pub fn user(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Agents => "agents",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
        }
    }

    /// The environment variable from which `nats.conf` takes the user's password.
    pub fn password_variable(self) -> &'static str {
        match self {
            Self::Controller => "SCUTTLE_CONTROLLER_PASSWORD",
            Self::Agents => "SCUTTLE_AGENT_PASSWORD",
            Self::Operator => "SCUTTLE_OPERATOR_PASSWORD",
            Self::Viewer => "SCUTTLE_VIEWER_PASSWORD",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.user())
    }
}

/// A nats-server. Dropping it kills it and removes what it stored.
#[derive(Debug)]
pub struct Nats {
    server: Server,
    setup: Setup,
    passwords: [String; 4],
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
        // A letter first: `nats.conf` would take digits for a number.
        let passwords = Role::ALL.map(|_| format!("p{}", Uuid::now_v7().simple()));
        let password =
            |(role, password): (Role, &String)| (role.password_variable(), password.clone());
        let mut environment: Vec<_> = Role::ALL
            .into_iter()
            .zip(&passwords)
            .map(password)
            .collect();
        environment.push(("SCUTTLE_WS_PORT", "-1".to_owned()));
        let setup = Setup {
            configuration,
            dir: dir.to_owned(),
            store: Some(dir.join("store")),
            environment,
        };
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

    /// The password of a role's user.
    pub fn password(&self, role: Role) -> &str {
        &self.passwords[role as usize]
    }

    /// The environment of a Scuttle program that connects as `role`.
    pub fn environment(&self, role: Role) -> [(&'static str, String); 2] {
        [
            ("SCUTTLE_NATS_USER", role.user().to_owned()),
            ("SCUTTLE_NATS_PASSWORD", self.password(role).to_owned()),
        ]
    }

    /// Options to connect as `role`: quick to come back when the server does.
    pub fn options(&self, role: Role) -> async_nats::ConnectOptions {
        async_nats::ConnectOptions::with_user_and_password(
            role.user().to_owned(),
            self.password(role).to_owned(),
        )
        .reconnect_delay_callback(|_| Duration::from_millis(20))
    }
}

/// The project's configuration.
fn configuration() -> PathBuf {
    workspace().join("nats.conf")
}

/// The workspace's folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A program of Scuttle: in `SCUTTLE_BIN_DIR`, else in the workspace's `target/debug`.
pub fn program(name: &str) -> PathBuf {
    std::env::var_os("SCUTTLE_BIN_DIR")
        .map_or_else(|| workspace().join("target/debug"), PathBuf::from)
        .join(name)
}
