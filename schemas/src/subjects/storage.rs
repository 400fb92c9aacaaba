//! The names of the streams, buckets and keys of a replicated store, and the subject on which NATS
//! servers report their storage settings. These names are internal to the controllers and not part
//! of the wire contract.

use crate::types::partition::{Partition, PartitionCount};

/// The subject on which a controller requests information, including the storage settings, from
/// every NATS server. The controller's account imports [`SERVER_INFO_IN_SYSTEM_ACCOUNT`] under this
/// name.
pub const SERVER_INFO: &str = "scuttle.servers";
/// The subject in the system account to which requests on [`SERVER_INFO`] go.
pub const SERVER_INFO_IN_SYSTEM_ACCOUNT: &str = "$SYS.REQ.SERVER.PING.VARZ";

/// The key-value bucket with the leases.
pub const LEASES_BUCKET: &str = "scuttle-leases";
/// The key-value bucket with the names of hosts, which are unique across partitions. Only used with
/// several partitions.
pub const NAMES_BUCKET: &str = "scuttle-names";
/// The object store with the snapshots of the rows.
pub const SNAPSHOTS_BUCKET: &str = "scuttle-snapshots";
/// The prefix of the keys in [`LEASES_BUCKET`] that show which controllers are running.
pub const PRESENCE_KEY_PREFIX: &str = "controller.";

/// Returns the name of the stream with a partition's journal.
pub fn journal_stream_name(partition: Partition) -> String {
    format!("SCUTTLE_{partition}")
}

/// Returns the names of the streams of a replicated store: the journals and the streams of the
/// buckets. The bucket of names exists only if there are several partitions.
pub fn controller_stream_names(partitions: PartitionCount) -> Vec<String> {
    let journals = partitions.iter().map(journal_stream_name);
    let buckets = [
        format!("KV_{LEASES_BUCKET}"),
        format!("KV_{NAMES_BUCKET}"),
        format!("OBJ_{SNAPSHOTS_BUCKET}"),
    ];
    journals.chain(buckets).collect()
}

/// Returns the subject of a partition's journal. Only the leader of the partition publishes on it.
pub fn journal_subject(partition: Partition) -> String {
    format!("scuttle.journal.{partition}")
}

/// The wildcard subject of all journals, for the permissions of the controllers.
pub const ALL_JOURNALS: &str = "scuttle.journal.*";

/// Returns the key of a partition's lease in [`LEASES_BUCKET`].
pub fn lease_key(partition: Partition) -> String {
    format!("leader.{partition}")
}

/// Returns the key in [`LEASES_BUCKET`] that shows that a controller has halted a partition.
pub fn halted_key(partition: Partition) -> String {
    format!("halted.{partition}")
}

/// Returns the prefix of the names of a partition's snapshots in [`SNAPSHOTS_BUCKET`].
pub fn snapshot_name_prefix(partition: Partition) -> String {
    if partition == Partition::FIRST {
        "rows-".to_owned()
    } else {
        format!("rows-{partition}-")
    }
}

/// The key of the NATS service's metadata that says why the controller serves nothing. Missing if
/// the controller serves.
pub const METADATA_HALTED: &str = "scuttle.halted";
/// The key of the NATS service's metadata that names the partition of a halted controller.
pub const METADATA_PARTITION: &str = "scuttle.partition";
/// The key of the NATS service's metadata that describes a stream or bucket with another number of
/// replicas than configured. Missing if all have the configured number.
pub const METADATA_REPLICAS: &str = "scuttle.replicas";
