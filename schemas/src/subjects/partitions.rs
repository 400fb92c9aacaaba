//! The subjects between the leaders of different partitions. They are internal to the controllers
//! and not part of the wire contract.

use crate::types::partition::{Partition, PartitionCount};

/// The wildcard subject of all requests from one leader to another, for the permissions of the
/// controllers.
pub const ALL_PARTITION_REQUESTS: &str = "scuttle.partition.>";
/// The wildcard subject of all broadcasts that leaders send to the first partition's leader for
/// relaying, for the permissions of the controllers.
pub const ALL_RELAYED_BROADCASTS: &str = "scuttle.told.>";

/// Returns the subject on which the leader of a partition receives requests that another leader
/// forwards from the subject `request`.
pub fn partition_request_subject(partition: Partition, request: &str) -> String {
    format!("scuttle.partition.{partition}.{request}")
}

/// Returns the subject on which the leader of a partition sends messages to the first partition's
/// leader, to be relayed on the subject `broadcast`. If `partition` is `None`, returns the wildcard
/// subject for all partitions.
pub fn relay_subject(partition: Option<Partition>, broadcast: &str) -> String {
    let partition = partition.map_or("*".to_owned(), |partition| partition.to_string());
    format!("scuttle.told.{partition}.{broadcast}")
}

/// Returns the partition that a subject of [`relay_subject`] names as the sender. Returns `None` if
/// the subject has another form, or if the partition does not exist.
pub fn parse_relaying_partition(subject: &str, partitions: PartitionCount) -> Option<Partition> {
    let (number, _) = subject.strip_prefix("scuttle.told.")?.split_once('.')?;
    partitions.partition(number.parse().ok()?)
}

/// Returns whether a subject begins like those that [`partition_request_subject`] returns.
pub fn is_partition_request(subject: &str) -> bool {
    subject.starts_with("scuttle.partition.")
}
