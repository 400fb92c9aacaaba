//! The subjects on which the controller broadcasts changes.

/// Announces shards that have changed or were removed.
pub const SHARDS_UPDATED: &str = "shards.updated";
/// Announces hosts that have changed.
pub const HOSTS_UPDATED: &str = "hosts.updated";
/// Announces operations that have changed.
pub const OPERATIONS_UPDATED: &str = "operations.updated";

/// All broadcast subjects.
pub const BROADCASTS: [&str; 3] = [SHARDS_UPDATED, HOSTS_UPDATED, OPERATIONS_UPDATED];
