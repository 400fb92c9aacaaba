//! A nats-server as a child process: with any configuration, on a free port, known to listen. Who may come in is the
//! configuration's matter.

use std::iter::repeat_with;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::process::Command;

use crate::programs::process::Process;
use crate::wait::until;

/// How a server is started, again and again.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Its configuration file.
    pub configuration: PathBuf,
    /// Where its log and the file of its ports are.
    pub dir: PathBuf,
    /// Where its store is, unless the configuration says so.
    pub store: Option<PathBuf>,
    /// What the configuration takes from the environment.
    pub environment: Vec<(&'static str, String)>,
}

/// A running nats-server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// The port for clients.
    pub port: u16,
    /// The port for browsers, if the configuration has one.
    pub websocket_port: Option<u16>,
    /// The port where it tells of itself over HTTP, if the configuration has one.
    pub monitor_port: Option<u16>,
}

impl Server {
    /// Starts a server on this port, or a free one, and waits until it listens.
    ///
    /// # Errors
    /// There is no nats-server, or it does not start.
    pub async fn start(setup: &Setup, port: Option<u16>) -> Result<Self> {
        let ports_dir = setup.dir.join("ports");
        std::fs::create_dir_all(&ports_dir)?;
        let mut command = Command::new(path()?);
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

    /// Starts a server on a free port that lets anybody in, with `JetStream`; its files are in `dir`.
    ///
    /// # Errors
    /// As `start`.
    pub async fn bare(dir: &Path) -> Result<Self> {
        let configuration = dir.join("nats.conf");
        let text = "host: 127.0.0.1\njetstream { sync_interval: always }\n";
        std::fs::write(&configuration, text)?;
        let setup = Setup {
            configuration,
            dir: dir.to_owned(),
            store: Some(dir.join("store")),
            environment: Vec::new(),
        };
        Self::start(&setup, None).await
    }

    /// Where clients connect.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Stops it as its service manager would (SIGTERM), and waits for its end.
    ///
    /// # Errors
    /// It does not stop.
    pub async fn stop(&mut self) -> Result<()> {
        self.process.signal("TERM").await?;
        self.process.exit().await?;
        Ok(())
    }
}

/// Where it listens.
#[derive(Debug)]
struct Ports {
    client: u16,
    websocket: Option<u16>,
    monitor: Option<u16>,
}

/// `{"nats":["nats://127.0.0.1:4222"],"monitoring":["http://127.0.0.1:8222"],"websocket":["ws://127.0.0.1:4223"]}`
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

/// Ports of loopback that were free a moment ago, each another.
///
/// # Errors
/// There are none.
pub fn free_ports<const COUNT: usize>() -> Result<[u16; COUNT]> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners: Vec<_> = repeat_with(listen).take(COUNT).collect::<Result<_, _>>()?;
    let mut ports = [0; COUNT];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

/// The nats-server to start: `SCUTTLE_NATS_SERVER`, else the one on the PATH.
///
/// # Errors
/// There is none.
pub fn path() -> Result<PathBuf> {
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
