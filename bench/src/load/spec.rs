//! The definition of a load: which requests are sent, for which deckies, and when.
//!
//! The results of a load are in outcome.rs.

use std::ops::Range;

use bytes::Bytes;
use scuttle_schemas::agents::{Heartbeat, HeartbeatType};
use scuttle_schemas::{BootId, HostId, MAX_DECKIES_PER_HOST};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Long enough that no deadline passes during a measurement.
const TIMEOUT_S: u32 = 3600;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LoadSpec {
    pub(crate) url: String,
    /// The user and password, if the server requires them.
    pub(crate) login: Option<(String, String)>,
    pub(crate) subject: String,
    pub(crate) kind: RequestKind,
    pub(crate) targets: Targets,
    /// The only hosts among the targets that requests are sent for. Empty if for all of them.
    pub(crate) only: Vec<u32>,
    pub(crate) pace: Pace,
    pub(crate) millis: u64,
    /// The ids of the processes whose CPU time is measured, besides the generator.
    pub(crate) watch: Vec<u32>,
}

/// The kind of request, and the expected reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RequestKind {
    /// A teardown request, which is sent back unchanged.
    Echo,
    /// A teardown request, which JetStream stores.
    Publish,
    /// A payload of this many bytes, which JetStream stores.
    PublishBytes(usize),
    /// A teardown request, which is accepted as a new operation.
    Accept,
    /// A teardown request, which is accepted. The decky's removal is broadcast later.
    Teardown,
    /// A teardown request for a decky that does not exist, which is rejected.
    UnknownDecky,
    /// A request for the first page of a list, with this many shards.
    ListPage(u16),
    /// Each host's heartbeat in turn, with no change in it.
    Heartbeat {
        boot: BootId,
        /// The sequence number of each host's first heartbeat.
        sequence: u64,
    },
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Pace {
    /// A closed loop: this many requests wait for their reply at any time.
    InFlight(u16),
    /// An open loop: this many requests per second, whether or not earlier ones have a reply.
    PerSecond(u32),
}

/// The deckies that requests are for: the first decky of each host, then the second of each host,
/// and so on.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Targets {
    pub(crate) hosts: Range<u32>,
    pub(crate) deckies: Range<u32>,
    /// The number of deckies to skip, because earlier requests were for them.
    pub(crate) skip: usize,
}

impl Targets {
    /// Returns at least this many shards on as few hosts as possible.
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

    /// Returns each decky, on the hosts in `only` if there are any.
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

/// Returns an agent's heartbeat with no change in it.
pub(crate) fn heartbeat(host: &HostId, boot: BootId, sequence: u64) -> Heartbeat {
    /// An hour, so that a host that sends only one heartbeat stays online.
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

pub(super) fn teardown_request(host: &HostId, decky: &str) -> Bytes {
    json!({ "host_uuid": host, "decky_id": decky, "timeout_s": TIMEOUT_S })
        .to_string()
        .into()
}
