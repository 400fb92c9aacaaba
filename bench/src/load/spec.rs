//! The definition of a load: the requests, their deckies, and their schedule.
//!
//! The results of a load are in outcome.rs.

use std::ops::Range;

use bytes::Bytes;
use scuttle_schemas::agents::{Heartbeat, HeartbeatType};
use scuttle_schemas::{BootId, HostId, MAX_DECKIES_PER_HOST};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The timeout of a teardown in seconds. It is long enough that no deadline passes during a
/// measurement.
const TIMEOUT_S: u32 = 3600;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LoadSpec {
    pub(crate) url: String,
    /// The user and password, if the server requires them.
    pub(crate) login: Option<(String, String)>,
    pub(crate) subject: String,
    pub(crate) kind: RequestKind,
    pub(crate) targets: Targets,
    /// The numbers of the hosts for which requests are sent. If this list is empty, requests are
    /// sent for all target hosts.
    pub(crate) only: Vec<u32>,
    pub(crate) pace: Pace,
    pub(crate) millis: u64,
    /// The ids of the processes whose CPU time is measured, besides the generator.
    pub(crate) watch: Vec<u32>,
}

/// The kind of request, and the expected reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RequestKind {
    /// A teardown request. The service sends it back unchanged.
    Echo,
    /// A teardown request that JetStream stores.
    Publish,
    /// A payload of the given number of bytes that JetStream stores.
    PublishBytes(usize),
    /// A teardown request that is accepted as a new operation.
    Accept,
    /// A teardown request that is accepted. The decky's removal is broadcast later.
    Teardown,
    /// A teardown request that is rejected, because its decky does not exist.
    UnknownDecky,
    /// A request for the first page of a list, with the given number of shards.
    ListPage(u16),
    /// A heartbeat from each host in turn, which reports no change.
    Heartbeat {
        boot: BootId,
        /// The sequence number of each host's first heartbeat.
        sequence: u64,
    },
}

/// The schedule of the requests.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Pace {
    /// A closed loop, in which the given number of requests wait for their reply at any time.
    InFlight(u16),
    /// An open loop, which sends the given number of requests per second, whether or not earlier
    /// requests have a reply.
    PerSecond(u32),
}

/// The target deckies of the requests: the first decky of each host, then the second decky of each
/// host, and so on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Targets {
    pub(crate) hosts: Range<u32>,
    pub(crate) deckies: Range<u32>,
    /// The number of deckies to skip at the start of the order, because earlier requests had them
    /// as targets.
    pub(crate) skip: usize,
}

impl Targets {
    /// Returns at least `count` shards on as few hosts as possible.
    pub(crate) fn with_shards(count: usize) -> Self {
        Self {
            hosts: 0..count.div_ceil(MAX_DECKIES_PER_HOST) as u32,
            deckies: 0..MAX_DECKIES_PER_HOST as u32,
            skip: 0,
        }
    }

    /// Returns targets for a service that accepts any decky, any number of times.
    pub(crate) fn arbitrary() -> Self {
        Self::with_shards(10 * MAX_DECKIES_PER_HOST)
    }

    /// Returns the targets in order, without those to skip. If `only` is not empty, returns only
    /// the deckies of the hosts in `only`.
    pub(super) fn iter(&self, only: &[u32]) -> impl Iterator<Item = (HostId, String)> {
        let hosts = self.host_numbers(only);
        let all = self
            .deckies
            .clone()
            .flat_map(move |decky| hosts.clone().into_iter().map(move |host| (host, decky)));
        all.skip(self.skip)
            .map(|(host, decky)| (host_id(host), decky_id(decky)))
    }

    pub(super) fn host_numbers(&self, only: &[u32]) -> Vec<u32> {
        if only.is_empty() {
            self.hosts.clone().collect()
        } else {
            only.to_vec()
        }
    }
}

/// Returns a host's id, which is also its name, in the simulator's format.
pub(crate) fn host_id(number: u32) -> HostId {
    let id = format!("bench-{:04}", number + 1);
    id.parse().expect("letters, digits and a dash")
}

/// Returns a decky's id in the simulator's format.
pub(crate) fn decky_id(number: u32) -> String {
    format!("decky-{:02}", number + 1)
}

/// Returns a heartbeat that reports no change.
pub(crate) fn heartbeat(host: &HostId, boot: BootId, sequence: u64) -> Heartbeat {
    /// The heartbeat interval in milliseconds. It is an hour, so that a host that sends only one
    /// heartbeat stays online.
    const INTERVAL_MS: u32 = 3_600_000;
    Heartbeat {
        kind: HeartbeatType,
        host_uuid: host.clone(),
        agent_version: "bench".into(),
        boot_id: boot,
        sequence,
        sent_at: None,
        interval_ms: INTERVAL_MS,
        page: 1,
        pages: 1,
        shards: None,
        inventory_error: None,
        notes: Vec::new(),
    }
}

pub(super) fn teardown_request(host: &HostId, decky: &str) -> Bytes {
    json!({ "host_uuid": host, "decky_id": decky, "timeout_s": TIMEOUT_S })
        .to_string()
        .into()
}
