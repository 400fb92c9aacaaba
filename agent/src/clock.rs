//! The host's wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use scuttle_schemas::Timestamp;

/// Returns the time on the wall clock, which may jump.
pub(crate) fn wall_clock() -> Timestamp {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_millis(since_1970.as_millis() as i64)
}
