//! A real nats-server with the project's `nats.conf`, its own port, directory and passwords.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tokio::process::Command;
use uuid::Uuid;

use crate::process::Process;
use crate::wait::until;

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
    process: Process,
    port: u16,
    websocket_port: Option<u16>,
    passwords: [String; 4],
    dir: PathBuf,
    /// Removed with the server, unless the directory is somebody else's.
    _own: Option<TempDir>,
}

impl Nats {
    /// Starts a server on a free port.
    ///
    /// # Errors
    /// There is no nats-server, or it does not start.
    pub async fn start() -> Result<Self> {
        let own = tempfile::tempdir().context("make a directory for nats-server")?;
        let dir = own.path().to_owned();
        let started = Self::start_in(&dir).await?;
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
        // A letter first: `nats.conf` would take digits for a number.
        let passwords = Role::ALL.map(|_| format!("p{}", Uuid::now_v7().simple()));
        let (process, ports) = launch(dir, &passwords, None).await?;
        Ok(Self {
            process,
            port: ports.client,
            websocket_port: ports.websocket,
            passwords,
            dir: dir.to_owned(),
            _own: None,
        })
    }

    /// Kills the server at once (SIGKILL).
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.kill().await
    }

    /// Stops the server as its service manager would (SIGTERM), and waits for its end.
    ///
    /// # Errors
    /// It does not stop.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.signal("TERM").await?;
        self.process.exit().await?;
        Ok(())
    }

    /// Starts the server again after `stop` or `kill`: same port, same passwords, same store.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart(&mut self) -> Result<()> {
        let (process, _) = launch(&self.dir, &self.passwords, Some(self.port)).await?;
        self.process = process;
        Ok(())
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
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
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where browsers connect, if `nats.conf` has a WebSocket listener.
    pub fn websocket_url(&self) -> Option<String> {
        Some(format!("ws://127.0.0.1:{}", self.websocket_port?))
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

/// The ports on which a server listens.
struct Ports {
    client: u16,
    websocket: Option<u16>,
}

async fn launch(
    dir: &Path,
    passwords: &[String; 4],
    port: Option<u16>,
) -> Result<(Process, Ports)> {
    let ports_dir = dir.join("ports");
    std::fs::create_dir_all(&ports_dir)?;
    let mut command = Command::new(server_path()?);
    command
        .arg("-c")
        .arg(workspace().join("nats.conf"))
        .arg("-p")
        .arg(port.map_or_else(|| "-1".to_owned(), |port| port.to_string()))
        .arg("--ports_file_dir")
        .arg(&ports_dir)
        .arg("-sd")
        .arg(dir.join("store"))
        .env("SCUTTLE_WS_PORT", "-1");
    for (role, password) in Role::ALL.iter().zip(passwords) {
        command.env(role.password_variable(), password);
    }
    let mut process = Process::spawn("nats-server", command, &dir.join("nats.log"))?;
    process.quiet = true;
    let id = process.id().context("nats-server ended at once")?;
    let ports_file = ports_dir.join(format!("nats-server_{id}.ports"));
    let ports = until(
        "nats-server writes its ports",
        || {
            let ports = process
                .alive()
                .map(|()| read_ports(&ports_file))
                .map_err(|end| format!("{end:#}"));
            async move {
                match ports {
                    Err(end) => Ok(Err(end)),
                    Ok(Some(ports)) => Ok(Ok(ports)),
                    Ok(None) => Err("no ports file yet"),
                }
            }
        },
        |_| true,
    )
    .await?;
    match ports {
        Ok((client, websocket)) => Ok((process, Ports { client, websocket })),
        Err(end) => bail!(end),
    }
}

/// `{"nats":["nats://127.0.0.1:4222"],"websocket":["ws://127.0.0.1:4223"]}`
fn read_ports(file: &Path) -> Option<(u16, Option<u16>)> {
    let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let port = |kind: &str| {
        let url = ports.get(kind)?.get(0)?.as_str()?;
        url.rsplit(':').next()?.parse().ok()
    };
    Some((port("nats")?, port("websocket")))
}

/// The nats-server to start: `SCUTTLE_NATS_SERVER`, else the one on the PATH.
fn server_path() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SCUTTLE_NATS_SERVER") {
        return Ok(path.into());
    }
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|dir| dir.join("nats-server"))
        .find(|path| path.is_file())
        .context(
            "no nats-server: neither SCUTTLE_NATS_SERVER nor one on the PATH; \
             run `cargo xtask test`, which installs it",
        )
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
