//! The subjects on which the controller broadcasts changes.

/// The subject of broadcasts about changed and removed shards.
pub const SHARDS_UPDATED: &str = "shards.updated";
/// The subject of broadcasts about changed hosts.
pub const HOSTS_UPDATED: &str = "hosts.updated";
/// The subject of broadcasts about changed operations.
pub const OPERATIONS_UPDATED: &str = "operations.updated";

/// All broadcast subjects.
pub const BROADCASTS: [&str; 3] = [SHARDS_UPDATED, HOSTS_UPDATED, OPERATIONS_UPDATED];

/// Returns the subject to which the accounts of operators and viewers map what is sent on a
/// broadcast subject from within the account. No role may subscribe to it.
pub fn diverted_subject(broadcast: &str) -> String {
    format!("_DIVERTED.{broadcast}")
}
