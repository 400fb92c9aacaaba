//! What controllers that share a journal keep on the NATS servers, and where the servers say how they store. No part of the wire
//! contract: nobody but a controller reads or writes any of it.

/// Which servers there are, and how they store: what an import of the system account's `$SYS.REQ.SERVER.PING.VARZ` is called.
pub const SERVERS: &str = "scuttle.servers";
/// What that is in the system account.
pub const SERVERS_AT_SYSTEM: &str = "$SYS.REQ.SERVER.PING.VARZ";

/// The controllers' journal, where it is a `JetStream` stream, and the subject that it is written to on.
pub const JOURNAL_STREAM: &str = "SCUTTLE_0";
/// The subject of that journal: nobody but its leader publishes on it.
pub const JOURNAL: &str = "scuttle.journal.0";
/// The key-value bucket with the leases.
pub const LEASES_BUCKET: &str = "scuttle-leases";
/// The key of that journal's lease.
pub const LEADER_KEY: &str = "leader.0";
/// The object store with the snapshots of the rows.
pub const SNAPSHOTS_BUCKET: &str = "scuttle-snapshots";
/// The prefix of the inboxes in which `JetStream` answers a controller: no agent may hear or write there.
pub const CONTROLLER_INBOX: &str = "_CONTROLLER";

/// What a controller publishes to `JetStream`, where its journal is a stream: its own three, and none else's. It can make them and
/// trim them, not delete them.
pub fn jetstream_of_controller() -> Vec<String> {
    let leases = format!("KV_{LEASES_BUCKET}");
    let snapshots = format!("OBJ_{SNAPSHOTS_BUCKET}");
    let mut subjects: Vec<String> = [JOURNAL_STREAM, &leases, &snapshots]
        .iter()
        .flat_map(|stream| {
            [
                format!("$JS.API.STREAM.CREATE.{stream}"),
                format!("$JS.API.STREAM.INFO.{stream}"),
            ]
        })
        .collect();
    for stream in [JOURNAL_STREAM, &snapshots] {
        subjects.push(format!("$JS.API.STREAM.PURGE.{stream}"));
        subjects.push(format!("$JS.API.CONSUMER.CREATE.{stream}"));
        for verb in ["CREATE", "INFO", "DELETE", "MSG.NEXT"] {
            subjects.push(format!("$JS.API.CONSUMER.{verb}.{stream}.>"));
        }
    }
    // A large snapshot is read at the reader's pace: it says how far it is.
    subjects.push(format!("$JS.FC.{snapshots}.>"));
    for stream in [leases, snapshots] {
        subjects.push(format!("$JS.API.STREAM.MSG.GET.{stream}"));
        subjects.push(format!("$JS.API.DIRECT.GET.{stream}.>"));
    }
    // What JetStream can do, which a client asks before it makes a bucket.
    subjects.push("$JS.API.INFO".to_owned());
    subjects.push(format!("$KV.{LEASES_BUCKET}.>"));
    subjects.push(format!("$O.{SNAPSHOTS_BUCKET}.>"));
    subjects.push(JOURNAL.to_owned());
    subjects
}
