//! A nats-server as a child process, with any configuration and on a free port.

use std::iter::repeat_with;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::programs::process::Process;
use crate::wait::wait_until;

/// The settings for starting a nats-server. A restart uses the same settings.
#[derive(Debug, Clone)]
pub struct ServerSetup {
    /// The path of the configuration file.
    pub configuration: PathBuf,
    /// The directory of the server's log, and of the file in which the server lists its ports.
    pub dir: PathBuf,
    /// The store directory, or `None` if the configuration names it.
    pub store: Option<PathBuf>,
    /// The variables that the configuration reads from the environment.
    pub environment: Vec<(&'static str, String)>,
}

/// A running nats-server. Dropping this value kills the process.
#[derive(Debug)]
pub struct NatsServer {
    pub process: Process,
    /// The port for clients.
    pub port: u16,
    /// The WebSocket port for browsers, if the configuration has one.
    pub websocket_port: Option<u16>,
    /// The port of the HTTP monitoring endpoint, if the configuration has one.
    pub monitor_port: Option<u16>,
}

impl NatsServer {
    /// Starts a server on `port`, or on a free port if `port` is `None`, and waits until the server
    /// accepts connections.
    pub async fn start(setup: &ServerSetup, port: Option<u16>) -> Result<Self> {
        let ports_dir = setup.dir.join("ports");
        std::fs::create_dir_all(&ports_dir)?;
        let mut command = Command::new(nats_server_path()?);
        command
            .arg("-c")
            .arg(&setup.configuration)
            .arg("-p")
            .arg(port.map_or_else(|| "-1".to_owned(), |port| port.to_string()))
            .arg("--ports_file_dir")
            .arg(&ports_dir)
            .envs(setup.environment.clone());
        if let Some(store) = &setup.store {
            command.arg("-sd").arg(store);
        }
        let mut process = Process::spawn("nats-server", command, &setup.dir.join("nats.log"))?;
        process.quiet = true;
        let id = process.id().context("nats-server has ended")?;
        let ports_file = ports_dir.join(format!("nats-server_{id}.ports"));
        let ports = wait_until(
            "nats-server writes its ports file",
            || {
                let ports = process
                    .ensure_running()
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
            Ok(Ports {
                client,
                websocket,
                monitor,
            }) => Ok(Self {
                process,
                port: client,
                websocket_port: websocket,
                monitor_port: monitor,
            }),
            Err(end) => bail!(end),
        }
    }

    /// Starts a server that needs no credentials and has `JetStream`, on a free port. The server's
    /// files are in `dir`.
    pub async fn start_without_accounts(dir: &Path) -> Result<Self> {
        let configuration = dir.join("nats.conf");
        let text = "host: 127.0.0.1\njetstream { sync_interval: always }\n";
        std::fs::write(&configuration, text)?;
        let setup = ServerSetup {
            configuration,
            dir: dir.to_owned(),
            store: Some(dir.join("store")),
            environment: Vec::new(),
        };
        Self::start(&setup, None).await
    }

    /// Returns the URL for clients.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Stops the server as a service manager would (SIGTERM), and waits for it to exit.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.send_signal("TERM").await?;
        self.process.wait_for_exit().await?;
        Ok(())
    }
}

/// The ports that a server listens on.
#[derive(Debug)]
struct Ports {
    client: u16,
    websocket: Option<u16>,
    monitor: Option<u16>,
}

/// Reads a ports file, or returns `None` if the file is missing or incomplete.
///
/// The file looks like `{"nats":["nats://127.0.0.1:4222"],"monitoring":["http://127.0.0.1:8222"]}`.
/// If the server has a WebSocket listener, the file also has a list `websocket`.
fn read_ports(file: &Path) -> Option<Ports> {
    let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let port = |kind: &str| {
        let url = ports.get(kind)?.get(0)?.as_str()?;
        url.rsplit(':').next()?.parse().ok()
    };
    Some(Ports {
        client: port("nats")?,
        websocket: port("websocket"),
        monitor: port("monitoring"),
    })
}

/// Finds distinct loopback ports that are free now. Another process may take a port before the port
/// is used.
pub fn find_free_ports<const COUNT: usize>() -> Result<[u16; COUNT]> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners: Vec<_> = repeat_with(listen).take(COUNT).collect::<Result<_, _>>()?;
    let mut ports = [0; COUNT];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// Returns the path of the nats-server to test with: the value of `SCUTTLE_NATS_SERVER` if it is
/// set, and otherwise the program on the `PATH`.
pub fn nats_server_path() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SCUTTLE_NATS_SERVER") {
        return Ok(path.into());
    }
    std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|dir| dir.join("nats-server"))
        .find(|path| path.is_file())
        .context(
            "no nats-server: SCUTTLE_NATS_SERVER is not set and there is none on the PATH; \
             run `cargo xtask test`, which installs it",
        )
}
