//! One agent that has gone wrong: it publishes on its own subjects as fast as its connections take it, and reads
//! nothing. What that does to the others is measured in `served`.

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use scuttle_schemas::HostId;
use scuttle_schemas::subjects::AgentChannel;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::roles::Role;
use crate::servers::nats::Nats;
use crate::wait::now;

/// How many bytes are written in one go, at the least.
const BLOCK: usize = 128 << 10;

/// How often a flooder whose server takes nothing looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(50);

/// How fast a flood in step is, at the most: some hundred times what all honest agents of a test send together, and what
/// a controller that was built for debugging reads at all.
const MESSAGES_A_SECOND: f64 = 10_000.0;
const BYTES_A_SECOND: f64 = 30e6;

/// How fast it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speed {
    /// As fast as the server takes it.
    Full,
    /// So fast that any controller must hold.
    InStep,
}

/// What it sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Heartbeats as an agent sends them.
    Heartbeats,
    /// Heartbeats with an inventory of some 250 KiB.
    Inventories,
    /// 1 KiB that is no JSON, as heartbeats.
    Garbage,
    /// 200 KiB that is no JSON, as heartbeats.
    LargeGarbage,
    /// Results of operations that nobody knows.
    Results,
    /// Progress of operations that nobody knows.
    Progress,
    /// Nothing at all, as progress: the most messages that fit a connection.
    Empty,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Heartbeats,
        Self::Inventories,
        Self::Garbage,
        Self::LargeGarbage,
        Self::Results,
        Self::Progress,
        Self::Empty,
    ];

    /// What it is called in a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heartbeats => "heartbeats",
            Self::Inventories => "250 KiB inventories",
            Self::Garbage => "1 KiB garbage",
            Self::LargeGarbage => "200 KiB garbage",
            Self::Results => "unknown results",
            Self::Progress => "unknown progress",
            Self::Empty => "empty progress",
        }
    }

    fn channel(self) -> AgentChannel {
        match self {
            Self::Heartbeats | Self::Inventories | Self::Garbage | Self::LargeGarbage => {
                AgentChannel::Heartbeat
            }
            Self::Results => AgentChannel::Results,
            Self::Progress | Self::Empty => AgentChannel::Progress,
        }
    }

    /// One message.
    fn payload(self, host: &HostId, boot: Uuid, number: u64) -> Vec<u8> {
        let heartbeat = |shards: Value| {
            json!({ "type": "scuttle.v1.heartbeat", "host_uuid": host, "agent_version": "flood", "boot_id": boot,
                "sequence": number, "interval_ms": 1000, "page": 1, "pages": 1, "shards": shards })
        };
        match self {
            Self::Heartbeats => heartbeat(Value::Null).to_string().into(),
            Self::Inventories => {
                let decky = |number: u32| {
                    json!({ "decky_id": format!("decky-{number:04}"), "state": "running",
                    "services": ["ssh"], "decky_ip": "10.0.0.7" })
                };
                heartbeat((0..2800).map(decky).collect())
                    .to_string()
                    .into()
            }
            Self::Garbage => vec![b'x'; 1 << 10],
            Self::LargeGarbage => vec![b'x'; 200 << 10],
            Self::Results => json!({ "type": "scuttle.v1.teardown_result", "operation_id": boot, "host_uuid": host,
                "boot_id": boot, "sequence": number, "outcome": "succeeded", "shards": [],
                "started_at": now(), "finished_at": now() })
            .to_string()
            .into(),
            Self::Progress => json!({ "type": "scuttle.v1.teardown_progress", "operation_id": boot, "boot_id": boot,
                "step": "removing" })
            .to_string()
            .into(),
            Self::Empty => Vec::new(),
        }
    }
}

/// A flood that goes on until it is stopped or dropped.
#[derive(Debug)]
pub struct Flood {
    sent: Arc<AtomicU64>,
    begun: Instant,
    /// A thread goes on for as long as its sender is there.
    threads: Vec<(SyncSender<()>, JoinHandle<Result<()>>)>,
}

impl Flood {
    /// Floods as the agent of `host`, over so many connections.
    ///
    /// # Errors
    /// The server does not let it in.
    pub fn start(
        nats: &Nats,
        host: &HostId,
        shape: Shape,
        (speed, connections): (Speed, usize),
    ) -> Result<Self> {
        let mut flood = Self {
            sent: Arc::default(),
            begun: Instant::now(),
            threads: Vec::new(),
        };
        for _ in 0..connections {
            let stream = connect(nats)?;
            let (host, sent) = (host.clone(), flood.sent.clone());
            let (going_on, stop) = sync_channel(0);
            let run = move || publish(stream, &host, (shape, speed), &stop, &sent);
            flood.threads.push((going_on, std::thread::spawn(run)));
        }
        Ok(flood)
    }

    /// Stops it; says how many messages the server took in a second.
    ///
    /// # Errors
    /// The server ended a connection before.
    pub fn stop(mut self) -> Result<f64> {
        let rate = self.sent.load(Ordering::Relaxed) as f64 / self.begun.elapsed().as_secs_f64();
        for (going_on, thread) in self.threads.drain(..) {
            drop(going_on);
            let ended = thread.join();
            ended.map_err(|_| anyhow!("the flooder panicked"))??;
        }
        Ok(rate)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        for (going_on, thread) in self.threads.drain(..) {
            drop(going_on);
            let _ = thread.join();
        }
    }
}

/// Logs in by hand: a client library would be slower than the server.
fn connect(nats: &Nats) -> Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, nats.port()))?;
    let login = json!({ "verbose": false, "pedantic": false, "lang": "flood", "version": "1", "protocol": 1,
        "user": Role::Agents.user(), "pass": nats.password(Role::Agents) });
    write!(stream, "CONNECT {login}\r\nPING\r\n")?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let pong = lines.find(|line| !line.as_ref().is_ok_and(|line| line.starts_with("INFO")));
    let pong = pong.context("the server hung up")??;
    anyhow::ensure!(pong == "PONG", "the flooder is not let in: {pong}");
    stream.set_write_timeout(Some(LOOK))?;
    Ok(stream)
}

fn publish(
    mut stream: TcpStream,
    host: &HostId,
    (shape, speed): (Shape, Speed),
    stop: &Receiver<()>,
    sent: &AtomicU64,
) -> Result<()> {
    let subject = shape.channel().subject(host);
    // Made once: the flooder must not be slower than the server.
    let boot = Uuid::now_v7();
    let mut block = Vec::with_capacity(2 * BLOCK);
    let mut messages = 0;
    while block.len() < BLOCK {
        messages += 1;
        let payload = shape.payload(host, boot, messages);
        // Nobody listens to the answers.
        write!(block, "PUB {subject} _INBOX.flood {}\r\n", payload.len())?;
        block.extend_from_slice(&payload);
        block.extend_from_slice(b"\r\n");
    }
    let pause = match speed {
        Speed::Full => Duration::ZERO,
        Speed::InStep => {
            let (messages, bytes) = (messages as f64, block.len() as f64);
            Duration::from_secs_f64((messages / MESSAGES_A_SECOND).max(bytes / BYTES_A_SECOND))
        }
    };
    let mut rest = &block[..];
    let mut wait = Duration::ZERO;
    while stop.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        match stream.write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("the server ended the flooder's connection"),
        }
        wait = Duration::ZERO;
        if rest.is_empty() {
            sent.fetch_add(messages, Ordering::Relaxed);
            (rest, wait) = (&block[..], pause);
        }
    }
    Ok(())
}
