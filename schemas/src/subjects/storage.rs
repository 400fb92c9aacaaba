//! The names of the streams, buckets and keys of a replicated store, and the subject on which
//! servers report how they store. They are internal to the controllers and not part of the wire
//! contract.

use crate::types::partition::Partition;

/// Requests information about every server, including its storage settings. This is the name under
/// which the controller's account imports [`SERVER_INFO_IN_SYSTEM_ACCOUNT`].
pub const SERVER_INFO: &str = "scuttle.servers";
/// The subject of [`SERVER_INFO`] in the system account.
pub const SERVER_INFO_IN_SYSTEM_ACCOUNT: &str = "$SYS.REQ.SERVER.PING.VARZ";

/// The key-value bucket with the leases.
pub const LEASES_BUCKET: &str = "scuttle-leases";
/// The key-value bucket with the names of hosts, which are unique across partitions. Only used with
/// several partitions.
pub const NAMES_BUCKET: &str = "scuttle-names";
/// The object store with the snapshots of the rows.
pub const SNAPSHOTS_BUCKET: &str = "scuttle-snapshots";
/// The prefix of the keys in [`LEASES_BUCKET`] by which the controllers show that they are running.
pub const PRESENCE_KEY_PREFIX: &str = "controller.";

/// Returns the name of the stream with a partition's journal.
pub fn journal_stream_name(partition: Partition) -> String {
    format!("SCUTTLE_{partition}")
}

/// Returns the subject of a partition's journal. Only the leader of the partition publishes on it.
pub fn journal_subject(partition: Partition) -> String {
    format!("scuttle.journal.{partition}")
}

/// Every journal subject, for the permissions of the controllers.
pub const ALL_JOURNALS: &str = "scuttle.journal.*";

/// Returns the key of a partition's lease in [`LEASES_BUCKET`].
pub fn lease_key(partition: Partition) -> String {
    format!("leader.{partition}")
}

/// Returns the prefix of the names of a partition's snapshots in [`SNAPSHOTS_BUCKET`].
pub fn snapshot_name_prefix(partition: Partition) -> String {
    if partition == Partition::FIRST {
        "rows-".to_owned()
    } else {
        format!("rows-{partition}-")
    }
}
