//! The subjects on which the controller broadcasts changes.

/// The subject of broadcasts about changed and removed shards.
pub const SHARDS_UPDATED: &str = "shards.updated";
/// The subject of broadcasts about changed hosts.
pub const HOSTS_UPDATED: &str = "hosts.updated";
/// The subject of broadcasts about changed operations.
pub const OPERATIONS_UPDATED: &str = "operations.updated";

/// All broadcast subjects.
pub const BROADCASTS: [&str; 3] = [SHARDS_UPDATED, HOSTS_UPDATED, OPERATIONS_UPDATED];
