//! The figures of one run of `partitions`.
//!
//! mod.rs measures the figures, and scaling_table.rs prints them.

use anyhow::{Context, Result};
use serde::Serialize;

use crate::load::outcome::LoadOutcome;
use crate::workloads::partitions::thread_usage::{CpuUsage, ThreadId};

/// The partition counts to compare.
pub(super) const PARTITION_COUNTS: [u8; 3] = [1, 2, 4];
/// The numbers of requests in flight that are measured: 256 as in the `cluster` workload, and
/// 1,024, which is 256 for each of four partitions.
pub(super) const IN_FLIGHT: [u16; 2] = [256, 1_024];

/// The figures of one round, for one partition count and one number of requests in flight. All
/// figures except the rates and latencies are microseconds of CPU time per message.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) partitions: u8,
    pub(super) in_flight: u16,
    pub(super) round: u32,
    pub(super) heartbeats_per_second: f64,
    pub(super) heartbeat: CpuPerMessage,
    /// The CPU time that a leader spends on a heartbeat from a host in its own partition.
    pub(super) heartbeat_own_us: f64,
    /// The CPU time that a leader spends on a heartbeat that it drops, because the host is in
    /// another partition. `None` if there is only one partition.
    pub(super) heartbeat_dropped_us: Option<f64>,
    pub(super) request_dropped_us: Option<f64>,
    /// The latency of a request for a page of all shards, with one request in flight.
    pub(super) list_p50_us: f64,
    pub(super) listing: CpuPerMessage,
    /// Accepted teardowns with one request in flight.
    pub(super) accept: AcceptFigures,
    /// Accepted teardowns with `in_flight` requests in flight.
    pub(super) accepts: AcceptFigures,
}

#[derive(Debug, Serialize)]
pub(super) struct AcceptFigures {
    pub(super) per_second: f64,
    pub(super) p50_us: f64,
    pub(super) spent: CpuPerMessage,
}

/// Microseconds of CPU time per message, with the messages spread evenly over the partitions.
#[derive(Debug, Serialize)]
pub(super) struct CpuPerMessage {
    /// The CPU time of the thread that used the most.
    pub(super) busiest: f64,
    /// The CPU time of the thread of the first partition's leader.
    pub(super) first: f64,
    /// The mean CPU time of the threads of the other partitions' leaders. `None` if there is only
    /// one partition.
    pub(super) others: Option<f64>,
    /// The CPU time of all threads of all controllers.
    pub(super) controllers: f64,
    /// The CPU time of all servers.
    pub(super) servers: f64,
}

impl CpuPerMessage {
    /// Computes the figures of a load. `threads` are the threads of the leaders, sorted by
    /// partition. The load must have watched only the servers.
    pub(super) fn new(load: &LoadOutcome, used: &CpuUsage, threads: &[ThreadId]) -> Result<Self> {
        let (_, busiest) = used.busiest().context("there are no threads")?;
        let (first, others) = threads.split_first().context("there is no leader")?;
        let others = others.iter();
        Ok(Self {
            busiest: micros_per_message(load, busiest),
            first: micros_per_message(load, used.of_thread(*first)),
            others: mean(others.map(|thread| micros_per_message(load, used.of_thread(*thread)))),
            controllers: micros_per_message(load, used.total()),
            servers: micros_per_message(load, load.cpu[1..].iter().sum()),
        })
    }
}

pub(super) fn micros_per_message(load: &LoadOutcome, seconds: f64) -> f64 {
    seconds * 1e6 / load.requests as f64
}

pub(super) fn mean(values: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let count = values.len();
    (count > 0).then(|| values.sum::<f64>() / count as f64)
}
