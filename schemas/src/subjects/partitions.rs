//! Between controllers.

use crate::types::partition::{Partition, Partitions};

/// What controllers ask each other: to be granted to them.
pub const ASKED: &str = "scuttle.partition.>";
/// What controllers tell the one that numbers the broadcasts: to be granted to them.
pub const TOLD: &str = "scuttle.told.>";

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

/// Whether this is where one controller asks another: its answer goes to an inbox of a controller's.
pub fn is_asked_by_controllers(subject: &str) -> bool {
    subject.starts_with("scuttle.partition.")
}
