//! A faulty agent that floods the controller. It publishes on one of its subjects, at a limited
//! rate or as fast as its connections accept messages, and reads nothing.
//!
//! The effect on operators and other agents is measured with
//! [`teardown_load`](crate::teardown_load).

use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use scuttle_schemas::HostId;
use scuttle_schemas::subjects::{self, AgentChannel};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::roles::Role;
use crate::servers::nats::Nats;
use crate::wait::current_timestamp;

/// The minimum size of a block in bytes. A block contains messages that are written together.
const MIN_BLOCK_SIZE: usize = 128 << 10;

/// The timeout of a blocked write. After the timeout, the thread checks whether to stop.
const WRITE_TIMEOUT: Duration = Duration::from_millis(50);

/// The maximum message rate of a connection with [`Rate::Limited`].
///
/// This limit and [`MAX_BYTES_PER_SECOND`] are about a hundred times the total rate of all other
/// agents in a test. A debug build of the controller can still read messages at this rate.
const MAX_MESSAGES_PER_SECOND: f64 = 10_000.0;
const MAX_BYTES_PER_SECOND: f64 = 30e6;

/// The rate of a flood on each connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// As fast as the server accepts messages.
    Unlimited,
    /// A rate that any build of the controller must withstand.
    Limited,
}

/// The kind of messages in a flood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloodMessage {
    /// Ordinary heartbeats.
    Heartbeats,
    /// Heartbeats with an inventory of about 250 KiB.
    Inventories,
    /// Heartbeats with 1 KiB of invalid JSON.
    Garbage,
    /// Heartbeats with 200 KiB of invalid JSON.
    LargeGarbage,
    /// Results of unknown operations.
    Results,
    /// Progress of unknown operations.
    Progress,
    /// Progress messages with empty payloads, for the highest message rate that a connection can
    /// carry.
    Empty,
}

impl FloodMessage {
    /// All kinds of messages.
    pub const ALL: [Self; 7] = [
        Self::Heartbeats,
        Self::Inventories,
        Self::Garbage,
        Self::LargeGarbage,
        Self::Results,
        Self::Progress,
        Self::Empty,
    ];

    /// Returns the label of this kind in tables.
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

    /// Creates the payload of one message. Valid heartbeats and results have `number` as their
    /// sequence.
    fn create_payload(self, host: &HostId, boot: Uuid, number: u64) -> Vec<u8> {
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
                "started_at": current_timestamp(), "finished_at": current_timestamp() })
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

/// The settings of a flood.
#[derive(Debug, Clone, Copy)]
pub struct FloodPlan {
    pub message: FloodMessage,
    /// The rate of each connection. The total rate grows with the number of connections.
    pub rate: Rate,
    /// The number of connections, each with a separate thread.
    pub connections: usize,
}

/// A flood that continues until it is stopped or dropped.
#[derive(Debug)]
pub struct Flood {
    sent: Arc<AtomicU64>,
    started: Instant,
    /// The sending threads, each with the sender of a channel. A thread stops when its sender is
    /// dropped.
    threads: Vec<(SyncSender<()>, JoinHandle<Result<()>>)>,
}

impl Flood {
    /// Starts a flood that connects as the agent of `host`.
    pub fn start(nats: &Nats, host: &HostId, plan: FloodPlan) -> Result<Self> {
        let mut flood = Self {
            sent: Arc::default(),
            started: Instant::now(),
            threads: Vec::new(),
        };
        for _ in 0..plan.connections {
            let stream = connect(nats)?;
            let (host, sent) = (host.clone(), flood.sent.clone());
            let (running, stop) = sync_channel(0);
            let run = move || publish(stream, &host, plan, &stop, &sent);
            flood.threads.push((running, std::thread::spawn(run)));
        }
        Ok(flood)
    }

    /// Stops the flood and returns the number of messages per second that the server accepted.
    ///
    /// # Errors
    /// If the server has closed a connection, or a thread has panicked.
    pub fn stop(mut self) -> Result<f64> {
        let rate = self.sent.load(Ordering::Relaxed) as f64 / self.started.elapsed().as_secs_f64();
        for (running, thread) in self.threads.drain(..) {
            drop(running);
            let ended = thread.join();
            ended.map_err(|_| anyhow!("the flooding thread panicked"))??;
        }
        Ok(rate)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        for (running, thread) in self.threads.drain(..) {
            drop(running);
            let _ = thread.join();
        }
    }
}

/// Connects without a client library, which would be slower than the server.
fn connect(nats: &Nats) -> Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, nats.port()))?;
    let login = json!({ "verbose": false, "pedantic": false, "lang": "flood", "version": "1", "protocol": 1,
        "user": Role::Agents.user(), "pass": nats.password(Role::Agents) });
    write!(stream, "CONNECT {login}\r\nPING\r\n")?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let pong = lines.find(|line| !line.as_ref().is_ok_and(|line| line.starts_with("INFO")));
    let pong = pong.context("the server closed the connection")??;
    anyhow::ensure!(
        pong == "PONG",
        "the server rejects the flooding client: {pong}"
    );
    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
    Ok(stream)
}

fn publish(
    mut stream: TcpStream,
    host: &HostId,
    plan: FloodPlan,
    stop: &Receiver<()>,
    sent: &AtomicU64,
) -> Result<()> {
    let subject = plan.message.channel().subject(host);
    // The block is created once, because the flood must not be slower than the server.
    let boot = Uuid::now_v7();
    let mut block = Vec::with_capacity(2 * MIN_BLOCK_SIZE);
    let mut messages = 0;
    while block.len() < MIN_BLOCK_SIZE {
        messages += 1;
        let payload = plan.message.create_payload(host, boot, messages);
        // The replies go to a subject without subscribers.
        let inbox = subjects::agent_inbox_prefix(host);
        write!(block, "PUB {subject} {inbox}.flood {}\r\n", payload.len())?;
        block.extend_from_slice(&payload);
        block.extend_from_slice(b"\r\n");
    }
    let block_interval = match plan.rate {
        Rate::Unlimited => Duration::ZERO,
        Rate::Limited => {
            let (messages, bytes) = (messages as f64, block.len() as f64);
            Duration::from_secs_f64(
                (messages / MAX_MESSAGES_PER_SECOND).max(bytes / MAX_BYTES_PER_SECOND),
            )
        }
    };
    let mut rest = &block[..];
    let mut wait = Duration::ZERO;
    while stop.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        match stream.write(rest) {
            Ok(written) => rest = &rest[written..],
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("the server closed the flooding connection"),
        }
        wait = Duration::ZERO;
        if rest.is_empty() {
            sent.fetch_add(messages, Ordering::Relaxed);
            (rest, wait) = (&block[..], block_interval);
        }
    }
    Ok(())
}
