//! The current time, in the units of messages and tokens. `output::style` formats times for people.

use scuttle_schemas::Timestamp;

/// Returns the current time of this machine.
pub(crate) fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Converts a time to whole seconds since 1970, the unit of JSON Web Tokens.
pub(crate) fn to_unix_seconds(time: Timestamp) -> i64 {
    time.as_millis().div_euclid(1000)
}
