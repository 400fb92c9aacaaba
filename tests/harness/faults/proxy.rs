//! A TCP proxy on loopback that can delay, stall, cut and refuse: the network between one program and its server, or servers.
//!
//! It knows bytes alone, no NATS. Who orders the faults is elsewhere.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::RngExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What is read at once.
const CHUNK: usize = 16 * 1024;
/// Chunks that are under way in one direction: 512 KiB, as a socket's buffers would hold. Beyond it the sender waits.
const UNDER_WAY: usize = 32;

/// How the network behaves now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weather {
    /// How long a byte takes to the server.
    pub to_server: Duration,
    /// And from it.
    pub from_server: Duration,
    /// At most this much longer.
    pub jitter: Duration,
    /// Nothing moves; connections stay open.
    pub stalled: bool,
    /// New connections are closed at once.
    pub refused: bool,
}

/// What is left when one side has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// It still arrives, late.
    Arrives,
    /// It is lost.
    IsLost,
}

/// One proxy. Dropping it closes its connections.
#[derive(Debug)]
pub struct Proxy {
    ports: Vec<u16>,
    weather: watch::Sender<Weather>,
    cuts: watch::Sender<u64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Proxy {
    /// Listens on a free port for each of the servers on these ports: the weather is the same for all.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(servers: &[u16], rest: Rest) -> Result<Self> {
        let (weather, cuts) = (watch::Sender::default(), watch::Sender::default());
        let mut proxy = Self {
            ports: Vec::new(),
            weather,
            cuts,
            tasks: Vec::new(),
        };
        for server in servers {
            let listener = TcpListener::bind(("127.0.0.1", 0))
                .await
                .context("listen for a proxy")?;
            proxy.ports.push(listener.local_addr()?.port());
            let way = Arc::new(Way {
                server: *server,
                rest,
                weather: proxy.weather.subscribe(),
                cuts: proxy.cuts.subscribe(),
            });
            proxy.tasks.push(tokio::spawn(async move {
                loop {
                    // A connection that failed before it was accepted is nobody's.
                    if let Ok((client, _)) = listener.accept().await {
                        let way = way.clone();
                        tokio::spawn(async move { way.carry(client).await });
                    }
                }
            }));
        }
        Ok(proxy)
    }

    /// Where the program connects: to any of the servers.
    pub fn url(&self) -> String {
        let url = |port: &u16| format!("nats://127.0.0.1:{port}");
        let urls: Vec<_> = self.ports.iter().map(url).collect();
        urls.join(",")
    }

    /// From now on it is so.
    pub fn set(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Ends every connection, and lets no new one come about.
    pub fn close(&self) {
        self.set(Weather {
            refused: true,
            ..Weather::default()
        });
        self.cut();
    }

    /// Ends every connection, with all that is under way.
    pub fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.cut();
    }
}

struct Way {
    server: u16,
    rest: Rest,
    weather: watch::Receiver<Weather>,
    cuts: watch::Receiver<u64>,
}

impl Way {
    async fn carry(&self, client: TcpStream) {
        let mut cuts = self.cuts.clone();
        cuts.mark_unchanged();
        if self.weather.borrow().refused {
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
            () = self.pump(from_client, to_server, |weather| weather.to_server) => {}
            () = self.pump(from_server, to_client, |weather| weather.from_server) => {}
            _ = cuts.changed() => {}
        }
    }

    /// Moves bytes one way, until one side ends.
    async fn pump(
        &self,
        from: impl AsyncRead + Unpin,
        to: impl AsyncWrite + Unpin,
        latency: fn(&Weather) -> Duration,
    ) {
        let (send, receive) = mpsc::channel(UNDER_WAY);
        let reading = self.read(from, send, latency);
        let writing = self.write(to, receive);
        match self.rest {
            Rest::Arrives => {
                tokio::join!(reading, writing);
            }
            Rest::IsLost => {
                tokio::select! { () = reading => {}, () = writing => {} }
            }
        }
    }

    async fn read(
        &self,
        mut from: impl AsyncRead + Unpin,
        send: mpsc::Sender<(Instant, Vec<u8>)>,
        latency: fn(&Weather) -> Duration,
    ) {
        let mut due = Instant::now();
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let weather = *self.weather.borrow();
            let jitter = weather.jitter.mul_f64(rand::rng().random_range(0.0..=1.0));
            // A stream keeps its order.
            due = due.max(Instant::now() + latency(&weather) + jitter);
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
        let mut weather = self.weather.clone();
        while let Some((due, bytes)) = receive.recv().await {
            tokio::time::sleep_until(due).await;
            let moves = weather.wait_for(|weather| !weather.stalled).await.is_ok();
            if !moves || to.write_all(&bytes).await.is_err() {
                // What the reader still has must not wait for room.
                receive.close();
                return;
            }
        }
    }
}
