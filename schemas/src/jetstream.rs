//! What controllers that share a journal keep on the NATS servers, what they say to each other, and where the servers say how they
//! store. No part of the wire contract: nobody but a controller reads or writes any of it.

use crate::{Partition, Partitions};

/// Which servers there are, and how they store: what an import of the system account's `$SYS.REQ.SERVER.PING.VARZ` is called.
pub const SERVERS: &str = "scuttle.servers";
/// What that is in the system account.
pub const SERVERS_AT_SYSTEM: &str = "$SYS.REQ.SERVER.PING.VARZ";

/// The key-value bucket with the leases.
pub const LEASES_BUCKET: &str = "scuttle-leases";
/// The key-value bucket with the hosts' names, where there are several partitions.
pub const NAMES_BUCKET: &str = "scuttle-names";
/// The object store with the snapshots of the rows.
pub const SNAPSHOTS_BUCKET: &str = "scuttle-snapshots";
/// The prefix of the inboxes in which `JetStream`, and one controller another, answers a controller: no agent may hear or write
/// there.
pub const CONTROLLER_INBOX: &str = "_CONTROLLER";
/// What the keys begin with under which controllers say in the bucket of leases that they are there.
pub const PRESENCE: &str = "controller.";
/// What controllers ask each other: to be granted to them.
pub const ASKED: &str = "scuttle.partition.>";
/// What controllers tell the one that numbers the broadcasts: to be granted to them.
pub const TOLD: &str = "scuttle.told.>";

/// A partition's journal, where it is a `JetStream` stream.
pub fn journal_stream(partition: Partition) -> String {
    format!("SCUTTLE_{partition}")
}

/// The subject of that journal: nobody but its leader publishes on it.
pub fn journal(partition: Partition) -> String {
    format!("scuttle.journal.{partition}")
}

/// The subjects of all journals: to be granted to the controllers.
pub const JOURNALS: &str = "scuttle.journal.*";

/// The key of that journal's lease.
pub fn leader_key(partition: Partition) -> String {
    format!("leader.{partition}")
}

/// What the names of the snapshots of that journal's rows begin with.
pub fn snapshots_prefix(partition: Partition) -> String {
    if partition == Partition::FIRST {
        "rows-".to_owned()
    } else {
        format!("rows-{partition}-")
    }
}

/// Where the leader of one partition is asked what clients ask on `request`.
pub fn asked(partition: Partition, request: &str) -> String {
    format!("scuttle.partition.{partition}.{request}")
}

/// Where the leader of a partition, or of any, tells what is then broadcast on `broadcast`.
pub fn told(partition: Option<Partition>, broadcast: &str) -> String {
    let partition = partition.map_or("*".to_owned(), |partition| partition.to_string());
    format!("scuttle.told.{partition}.{broadcast}")
}

/// The partition that told it, by its subject.
pub fn teller(subject: &str, partitions: Partitions) -> Option<Partition> {
    let (number, _) = subject.strip_prefix("scuttle.told.")?.split_once('.')?;
    partitions.numbered(number.parse().ok()?)
}

/// What a controller publishes to `JetStream`, where its journal is a stream: its own, and none else's. It can make them and
/// trim them, not delete them.
pub fn jetstream_of_controller() -> Vec<String> {
    let journals: Vec<String> = Partitions::MOST.all().map(journal_stream).collect();
    let (leases, names) = (format!("KV_{LEASES_BUCKET}"), format!("KV_{NAMES_BUCKET}"));
    let snapshots = format!("OBJ_{SNAPSHOTS_BUCKET}");
    let mut subjects = Vec::new();
    for stream in journals.iter().chain([&leases, &names, &snapshots]) {
        subjects.push(format!("$JS.API.STREAM.CREATE.{stream}"));
        subjects.push(format!("$JS.API.STREAM.INFO.{stream}"));
    }
    for stream in journals.iter().chain([&snapshots]) {
        subjects.push(format!("$JS.API.STREAM.PURGE.{stream}"));
    }
    // What is read as it grows, or bit by bit.
    for stream in journals.iter().chain([&leases, &snapshots]) {
        subjects.push(format!("$JS.API.CONSUMER.CREATE.{stream}"));
        for verb in ["CREATE", "INFO", "DELETE", "MSG.NEXT"] {
            subjects.push(format!("$JS.API.CONSUMER.{verb}.{stream}.>"));
        }
    }
    // What is sent at the reader's pace: it says how far it is.
    for stream in [&leases, &snapshots] {
        subjects.push(format!("$JS.FC.{stream}.>"));
    }
    for stream in [&leases, &names, &snapshots] {
        subjects.push(format!("$JS.API.STREAM.MSG.GET.{stream}"));
        subjects.push(format!("$JS.API.DIRECT.GET.{stream}.>"));
    }
    // What JetStream can do, which a client asks before it makes a bucket.
    subjects.push("$JS.API.INFO".to_owned());
    subjects.push(format!("$KV.{LEASES_BUCKET}.>"));
    subjects.push(format!("$KV.{NAMES_BUCKET}.>"));
    subjects.push(format!("$O.{SNAPSHOTS_BUCKET}.>"));
    subjects.push(JOURNALS.to_owned());
    subjects
}
