//! A TCP proxy on loopback that can delay, stall, cut and refuse connections. It simulates the
//! network between one program and its servers.
//!
//! The proxy copies bytes and knows nothing about NATS. The test or program that starts the proxy
//! decides when each fault occurs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::RngExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The maximum number of bytes in one read.
const CHUNK_SIZE: usize = 16 * 1024;
/// The maximum number of chunks in flight in one direction: 512 KiB, as much as the buffers of a
/// socket hold. At this limit, the proxy stops reading, and the sender waits.
const MAX_IN_FLIGHT: usize = 32;

/// The current behaviour of the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkConditions {
    /// The latency from the client to the server.
    pub latency_to_server: Duration,
    /// The latency from the server to the client.
    pub latency_from_server: Duration,
    /// The upper bound of a random addition to the latency.
    pub jitter: Duration,
    /// Whether connections stay open but transfer no bytes.
    pub stalled: bool,
    /// Whether new connections are closed immediately.
    pub refused: bool,
}

/// The fate of the bytes in flight when one side has closed its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InFlight {
    /// The bytes still arrive after their latency.
    Delivered,
    /// The bytes are lost.
    Lost,
}

/// A running proxy. Dropping this value closes its connections.
#[derive(Debug)]
pub struct Proxy {
    ports: Vec<u16>,
    conditions: watch::Sender<NetworkConditions>,
    cuts: watch::Sender<u64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy for the servers on these ports. The proxy listens on one free port for each
    /// server, and all ports have the same conditions.
    pub async fn start(servers: &[u16], in_flight: InFlight) -> Result<Self> {
        let (conditions, cuts) = (watch::Sender::default(), watch::Sender::default());
        let mut proxy = Self {
            ports: Vec::new(),
            conditions,
            cuts,
            tasks: Vec::new(),
        };
        for server in servers {
            let listener = TcpListener::bind(("127.0.0.1", 0))
                .await
                .context("listen for a proxy")?;
            proxy.ports.push(listener.local_addr()?.port());
            let route = Arc::new(Route {
                server: *server,
                in_flight,
                conditions: proxy.conditions.subscribe(),
                cuts: proxy.cuts.subscribe(),
            });
            proxy.tasks.push(tokio::spawn(async move {
                loop {
                    // An error here means that the client closed the connection before it was
                    // accepted.
                    if let Ok((client, _)) = listener.accept().await {
                        let route = route.clone();
                        tokio::spawn(async move { route.forward(client).await });
                    }
                }
            }));
        }
        Ok(proxy)
    }

    /// Returns the URLs at which the program reaches the servers through the proxy, separated by
    /// commas.
    pub fn url(&self) -> String {
        let url = |port: &u16| format!("nats://127.0.0.1:{port}");
        let urls: Vec<_> = self.ports.iter().map(url).collect();
        urls.join(",")
    }

    /// Changes the conditions of open and new connections.
    pub fn set_conditions(&self, conditions: NetworkConditions) {
        self.conditions.send_replace(conditions);
    }

    /// Closes every connection, and refuses new connections until the conditions change.
    pub fn disconnect(&self) {
        self.set_conditions(NetworkConditions {
            refused: true,
            ..NetworkConditions::default()
        });
        self.close_connections();
    }

    /// Closes every connection. The bytes in flight are lost.
    pub fn close_connections(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.close_connections();
    }
}

/// The route from one port of the proxy to one server.
struct Route {
    server: u16,
    in_flight: InFlight,
    conditions: watch::Receiver<NetworkConditions>,
    cuts: watch::Receiver<u64>,
}

impl Route {
    async fn forward(&self, client: TcpStream) {
        let mut cuts = self.cuts.clone();
        cuts.mark_unchanged();
        if self.conditions.borrow().refused {
            return;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.server)).await else {
            return;
        };
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        tokio::select! {
            () = self.copy(from_client, to_server, |conditions| conditions.latency_to_server) => {}
            () = self.copy(from_server, to_client, |conditions| conditions.latency_from_server) => {}
            _ = cuts.changed() => {}
        }
    }

    /// Copies bytes in one direction until one side closes its connection.
    async fn copy(
        &self,
        from: impl AsyncRead + Unpin,
        to: impl AsyncWrite + Unpin,
        latency: fn(&NetworkConditions) -> Duration,
    ) {
        let (send, receive) = mpsc::channel(MAX_IN_FLIGHT);
        let reading = self.read(from, send, latency);
        let writing = self.write(to, receive);
        match self.in_flight {
            InFlight::Delivered => {
                tokio::join!(reading, writing);
            }
            InFlight::Lost => {
                tokio::select! { () = reading => {}, () = writing => {} }
            }
        }
    }

    async fn read(
        &self,
        mut from: impl AsyncRead + Unpin,
        send: mpsc::Sender<(Instant, Vec<u8>)>,
        latency: fn(&NetworkConditions) -> Duration,
    ) {
        let mut due = Instant::now();
        let mut buffer = vec![0; CHUNK_SIZE];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let conditions = *self.conditions.borrow();
            let jitter = conditions
                .jitter
                .mul_f64(rand::rng().random_range(0.0..=1.0));
            // The bytes of a stream keep their order.
            due = due.max(Instant::now() + latency(&conditions) + jitter);
            if send.send((due, buffer[..count].to_vec())).await.is_err() {
                return;
            }
        }
    }

    async fn write(
        &self,
        mut to: impl AsyncWrite + Unpin,
        mut receive: mpsc::Receiver<(Instant, Vec<u8>)>,
    ) {
        let mut conditions = self.conditions.clone();
        while let Some((due, bytes)) = receive.recv().await {
            tokio::time::sleep_until(due).await;
            let is_open = conditions
                .wait_for(|conditions| !conditions.stalled)
                .await
                .is_ok();
            if !is_open || to.write_all(&bytes).await.is_err() {
                // The reader must not block on a full channel.
                receive.close();
                return;
            }
        }
    }
}
