//! The one place where the controller reads the clock.

use std::time::{SystemTime, UNIX_EPOCH};

use scuttle_schemas::Timestamp;

/// Returns the current time in milliseconds since 1970.
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
