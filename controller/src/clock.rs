//! The wall clock. Apart from trace times and new UUIDs, the controller reads the wall clock only
//! here.

use std::time::{SystemTime, UNIX_EPOCH};

use scuttle_schemas::Timestamp;

/// Returns the current time, rounded down to a millisecond. If the clock is set to a time before
/// 1970, returns the start of 1970.
pub fn now() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
