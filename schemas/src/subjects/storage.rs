//! What controllers that share a journal keep on the NATS servers, what they say to each other, and where the servers say how they
//! store. No part of the wire contract: nobody but a controller reads or writes any of it.

use crate::types::partition::Partition;

/// Which servers there are, and how they store: what an import of the system account's `$SYS.REQ.SERVER.PING.VARZ` is called.
pub const SERVER_INFO: &str = "scuttle.servers";
/// What that is in the system account.
pub const SERVER_INFO_IN_SYSTEM_ACCOUNT: &str = "$SYS.REQ.SERVER.PING.VARZ";

/// The key-value bucket with the leases.
pub const LEASES_BUCKET: &str = "scuttle-leases";
/// The key-value bucket with the hosts' names, where there are several partitions.
pub const NAMES_BUCKET: &str = "scuttle-names";
/// The object store with the snapshots of the rows.
pub const SNAPSHOTS_BUCKET: &str = "scuttle-snapshots";
/// What the keys begin with under which controllers say in the bucket of leases that they are there.
pub const PRESENCE_KEY_PREFIX: &str = "controller.";
/// A partition's journal, where it is a `JetStream` stream.
pub fn journal_stream_name(partition: Partition) -> String {
    format!("SCUTTLE_{partition}")
}

/// The subject of that journal: nobody but its leader publishes on it.
pub fn journal_subject(partition: Partition) -> String {
    format!("scuttle.journal.{partition}")
}

/// The subjects of all journals: to be granted to the controllers.
pub const ALL_JOURNALS: &str = "scuttle.journal.*";

/// The key of that journal's lease.
pub fn lease_key(partition: Partition) -> String {
    format!("leader.{partition}")
}

/// What the names of the snapshots of that journal's rows begin with.
pub fn snapshot_name_prefix(partition: Partition) -> String {
    if partition == Partition::FIRST {
        "rows-".to_owned()
    } else {
        format!("rows-{partition}-")
    }
}
