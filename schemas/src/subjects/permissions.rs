//! Permissions.

use crate::subjects::storage::{
    ALL_JOURNALS, LEASES_BUCKET, NAMES_BUCKET, SNAPSHOTS_BUCKET, journal_stream_name,
};
use crate::types::partition::PartitionCount;

/// What a controller publishes to `JetStream`, where its journal is a stream: its own, and none else's. It can make them and
/// trim them, not delete them.
pub fn controller_jetstream_subjects() -> Vec<String> {
    let journals: Vec<String> = PartitionCount::MAX
        .iter()
        .map(journal_stream_name)
        .collect();
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
    subjects.push(ALL_JOURNALS.to_owned());
    subjects
}
