//! The subjects between the leaders of different partitions. They are internal to the controllers
//! and not part of the wire contract.

use crate::types::partition::{Partition, PartitionCount};

/// Every request from one leader to another, for the permissions of the controllers.
pub const ALL_PARTITION_REQUESTS: &str = "scuttle.partition.>";
/// Every broadcast that is sent to the leader of the first partition, which assigns the revisions,
/// for the permissions of the controllers.
pub const ALL_RELAYED_BROADCASTS: &str = "scuttle.told.>";

/// Returns the subject on which the leader of a partition receives requests that another leader
/// forwards from the subject `request`.
pub fn partition_request_subject(partition: Partition, request: &str) -> String {
    format!("scuttle.partition.{partition}.{request}")
}

/// Returns the subject on which the leader of a partition sends its messages for the subject
/// `broadcast` to the leader of the first partition. Without a partition, returns the wildcard
/// subject for all.
pub fn relay_subject(partition: Option<Partition>, broadcast: &str) -> String {
    let partition = partition.map_or("*".to_owned(), |partition| partition.to_string());
    format!("scuttle.told.{partition}.{broadcast}")
}

/// Returns the partition that sent a message on a subject of [`relay_subject`].
pub fn parse_relaying_partition(subject: &str, partitions: PartitionCount) -> Option<Partition> {
    let (number, _) = subject.strip_prefix("scuttle.told.")?.split_once('.')?;
    partitions.partition(number.parse().ok()?)
}

/// Whether a subject is one of [`partition_request_subject`].
pub fn is_partition_request(subject: &str) -> bool {
    subject.starts_with("scuttle.partition.")
}
