//! The subjects for the permissions of users that no message type lists: the `JetStream` subjects
//! of a controller, and the subjects of an operator who is limited to hosts.

use crate::subjects::requests::HOST_TEARDOWNS;
use crate::subjects::storage::{
    ALL_JOURNALS, LEASES_BUCKET, NAMES_BUCKET, SNAPSHOTS_BUCKET, journal_stream_name,
};
use crate::types::partition::PartitionCount;

/// The name of the tags that list the hosts of a user in the user's NATS token.
pub const HOST_TAG: &str = "host";

/// Returns the subjects of teardowns on the hosts of one user, for the permissions of a NATS scoped
/// signing key. The NATS server replaces the placeholder with the value of each [`HOST_TAG`] in the
/// user's token, and leaves the subject out if the token has none.
pub fn tagged_host_teardowns() -> String {
    HOST_TEARDOWNS.replace('*', &format!("{{{{tag({HOST_TAG})}}}}"))
}

/// Returns the subjects that a controller with a replicated store may publish to `JetStream`.
///
/// With these permissions, the controller can create Scuttle's streams and buckets, and purge the
/// journals and snapshots. It can neither delete a stream or bucket nor use any others.
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
    // Streams and buckets that are read through a consumer.
    for stream in journals.iter().chain([&leases, &snapshots]) {
        subjects.push(format!("$JS.API.CONSUMER.CREATE.{stream}"));
        for verb in ["CREATE", "INFO", "DELETE", "MSG.NEXT"] {
            subjects.push(format!("$JS.API.CONSUMER.{verb}.{stream}.>"));
        }
    }
    // Flow control of ordered consumers.
    for stream in [&leases, &snapshots] {
        subjects.push(format!("$JS.FC.{stream}.>"));
    }
    for stream in [&leases, &names, &snapshots] {
        subjects.push(format!("$JS.API.STREAM.MSG.GET.{stream}"));
        subjects.push(format!("$JS.API.DIRECT.GET.{stream}.>"));
    }
    // The client requests the limits of the account before it creates a bucket.
    subjects.push("$JS.API.INFO".to_owned());
    subjects.push(format!("$KV.{LEASES_BUCKET}.>"));
    subjects.push(format!("$KV.{NAMES_BUCKET}.>"));
    subjects.push(format!("$O.{SNAPSHOTS_BUCKET}.>"));
    subjects.push(ALL_JOURNALS.to_owned());
    subjects
}
