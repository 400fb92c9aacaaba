//! Who asks: a process of its own, so that nothing the measuring process does is in a figure.
//!
//! An [`Order`] goes in as one line of JSON, a [`Load`] comes out as one. `driver` is the side that orders, `generator` the
//! other, `pace` when each request is due, `answer` what counts as an answer, `removals` who waits for a broadcast. All that is
//! compared is asked by the same code, with requests of the same size, by the client's own `request`, as programs do. (A
//! generator of its own making, with one inbox and no bookkeeping for each request, drives the echo about twice as
//! fast, and so halves the ratio.)
//!
//! A latency counts from the moment at which the request was *due*: in a closed loop, when the answer to the slot's last
//! one came in; in an open one, at its scheduled time. So what a slow answer keeps from being asked is not left out.

mod answer;
mod driver;
mod generator;
mod pace;
mod removals;

use std::ops::Range;

use bytes::Bytes;
use hdrhistogram::Histogram;
use scuttle_schemas::agents::{Heartbeat, HeartbeatType};
use scuttle_schemas::{BootId, HostId, MAX_DECKIES_PER_HOST};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub(crate) use driver::Generator;
pub(crate) use generator::generate;

/// No deadline passes in a measurement.
const TIMEOUT_S: u32 = 3600;

/// What is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) url: String,
    /// A user and a password, where the server asks for them.
    pub(crate) login: Option<(String, String)>,
    pub(crate) subject: String,
    pub(crate) what: What,
    pub(crate) targets: Targets,
    /// Of the targets' hosts these alone, if any are named.
    pub(crate) only: Vec<u32>,
    pub(crate) pace: Pace,
    pub(crate) millis: u64,
    /// Whose time on a processor is taken, beside the generator's own.
    pub(crate) watch: Vec<u32>,
}

/// What a request is, and what must come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum What {
    /// A teardown request, which comes back as it is.
    Echo,
    /// The same, stored by `JetStream`.
    Stored,
    /// So many bytes, stored by `JetStream`.
    Written(usize),
    /// The request, accepted as a new operation.
    Accepted,
    /// The same, accepted, and the decky's removal is broadcast.
    Removed,
    /// The same for a decky that no host has, refused.
    Unknown,
    /// A page of so many shards, the first ones each time.
    Listed(u16),
    /// Each host's heartbeat in turn, with nothing new in it.
    Heard {
        boot: BootId,
        /// The number of each host's first one.
        sequence: u64,
    },
}

/// When requests are made.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Pace {
    /// So many wait for their answer at any time.
    InFlight(u16),
    /// So many a second, answered or not.
    PerSecond(u32),
}

/// The deckies that requests are about, each host's first, then each host's second…
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Targets {
    pub(crate) hosts: Range<u32>,
    pub(crate) deckies: Range<u32>,
    /// How many of them were used up before.
    pub(crate) skip: usize,
}

impl Targets {
    /// At least so many, on as few hosts as can be.
    pub(crate) fn at_least(shards: usize) -> Self {
        Self {
            hosts: 0..shards.div_ceil(MAX_DECKIES_PER_HOST) as u32,
            deckies: 0..MAX_DECKIES_PER_HOST as u32,
            skip: 0,
        }
    }

    /// For those that take any, again and again.
    pub(crate) fn any() -> Self {
        Self::at_least(10 * MAX_DECKIES_PER_HOST)
    }

    /// On these hosts alone, if any are named.
    fn each(&self, only: &[u32]) -> impl Iterator<Item = (HostId, String)> {
        let hosts = self.numbers(only);
        let all = self
            .deckies
            .clone()
            .flat_map(move |decky| hosts.clone().into_iter().map(move |host| (host, decky)));
        all.skip(self.skip)
            .map(|(host, decky)| (host_id(host), decky_id(decky)))
    }

    fn numbers(&self, only: &[u32]) -> Vec<u32> {
        if only.is_empty() {
            self.hosts.clone().collect()
        } else {
            only.to_vec()
        }
    }
}

/// A host's id, which is its name as well: as the simulator names them.
pub(crate) fn host_id(number: u32) -> HostId {
    let id = format!("bench-{:04}", number + 1);
    id.parse().expect("letters, digits and a dash")
}

/// A decky's id, as the simulator names them.
pub(crate) fn decky_id(number: u32) -> String {
    format!("decky-{:02}", number + 1)
}

/// An agent's heartbeat with nothing new in it.
pub(crate) fn heartbeat(host: &HostId, boot: BootId, sequence: u64) -> Heartbeat {
    /// An hour, as the agents promise: those that are to be heard once are not missed.
    const INTERVAL_MS: u32 = 3_600_000;
    Heartbeat {
        kind: HeartbeatType,
        host_uuid: host.clone(),
        agent_version: "bench".into(),
        boot_id: boot,
        sequence,
        interval_ms: INTERVAL_MS,
        page: 1,
        pages: 1,
        shards: None,
        inventory_error: None,
    }
}

/// A teardown request.
fn request(host: &HostId, decky: &str) -> Bytes {
    json!({ "host_uuid": host, "decky_id": decky, "timeout_s": TIMEOUT_S })
        .to_string()
        .into()
}

/// What came of an order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Load {
    /// How many were made, those included that are not counted.
    pub(crate) made: usize,
    pub(crate) answers: usize,
    pub(crate) seconds: f64,
    /// Latencies in nanoseconds, and how many had each.
    latencies: Vec<(u64, u64)>,
    /// Seconds on a processor: the generator's, then those of `watch`.
    pub(crate) cpu: Vec<f64>,
}

impl Load {
    pub(crate) fn per_second(&self) -> f64 {
        self.answers as f64 / self.seconds
    }

    /// The latency that so many of 1 are within, in microseconds.
    pub(crate) fn micros(&self, quantile: f64) -> f64 {
        let mut latencies = histogram();
        for (value, count) in &self.latencies {
            latencies.saturating_record_n(*value, *count);
        }
        latencies.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// Of nanoseconds, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    const LONGEST: u64 = 100_000_000_000;
    Histogram::new_with_bounds(1, LONGEST, 3).expect("valid bounds")
}
