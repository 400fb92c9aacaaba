//! Between controllers.

use crate::types::partition::{Partition, PartitionCount};

/// What controllers ask each other: to be granted to them.
pub const ALL_PARTITION_REQUESTS: &str = "scuttle.partition.>";
/// What controllers tell the one that numbers the broadcasts: to be granted to them.
pub const ALL_RELAYED_BROADCASTS: &str = "scuttle.told.>";

/// Where the leader of one partition is asked what clients ask on `request`.
pub fn partition_request_subject(partition: Partition, request: &str) -> String {
    format!("scuttle.partition.{partition}.{request}")
}

/// Where the leader of a partition, or of any, tells what is then broadcast on `broadcast`.
pub fn relay_subject(partition: Option<Partition>, broadcast: &str) -> String {
    let partition = partition.map_or("*".to_owned(), |partition| partition.to_string());
    format!("scuttle.told.{partition}.{broadcast}")
}

/// The partition that told it, by its subject.
pub fn parse_relaying_partition(subject: &str, partitions: PartitionCount) -> Option<Partition> {
    let (number, _) = subject.strip_prefix("scuttle.told.")?.split_once('.')?;
    partitions.partition(number.parse().ok()?)
}

/// Whether this is where one controller asks another: its answer goes to an inbox of a controller's.
pub fn is_partition_request(subject: &str) -> bool {
    subject.starts_with("scuttle.partition.")
}
