//! The check that a NATS server accepts large enough messages.

use scuttle_schemas::MIN_MAX_PAYLOAD;

/// The error for a server whose messages are too small for controllers and agents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the NATS server accepts messages of at most {max_payload} bytes, which is too small: set `max_payload: 1MB` (at least \
     {MIN_MAX_PAYLOAD} bytes) in its configuration, and restart it"
)]
pub struct PayloadTooSmall {
    max_payload: usize,
}

/// Checks the `max_payload` of a server, in bytes.
///
/// # Errors
/// If it is smaller than [`MIN_MAX_PAYLOAD`].
pub fn check_max_payload(max_payload: usize) -> Result<(), PayloadTooSmall> {
    if max_payload < MIN_MAX_PAYLOAD {
        return Err(PayloadTooSmall { max_payload });
    }
    Ok(())
}
