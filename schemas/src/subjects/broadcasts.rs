//! Broadcast subjects.

/// Broadcast: shards that changed or went.
pub const SHARDS_UPDATED: &str = "shards.updated";
/// Broadcast: hosts that changed.
pub const HOSTS_UPDATED: &str = "hosts.updated";
/// Broadcast: operations that changed.
pub const OPERATIONS_UPDATED: &str = "operations.updated";

/// What the controller tells everybody.
pub const BROADCASTS: [&str; 3] = [SHARDS_UPDATED, HOSTS_UPDATED, OPERATIONS_UPDATED];
