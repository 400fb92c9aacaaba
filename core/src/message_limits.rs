//! The sizes that messages may have, as far as they depend on the NATS server.

use scuttle_schemas::{MAX_BROADCAST_BYTES, MAX_HEADER_BYTES};

/// The maximum total size of the records in a reply, in bytes, however large the server's messages
/// may be.
pub(crate) const MAX_REPLY_BYTES: usize = 1_000_000;

/// An upper bound for the size of a message without its records, in bytes.
const MAX_ENVELOPE_BYTES: usize = 512;

/// The maximum size of a message, as the NATS server accepts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageLimits {
    max_payload: usize,
}

impl MessageLimits {
    /// Creates the limits for a server with this `max_payload`, in bytes: the maximum size of a
    /// message with its headers.
    pub fn new(max_payload: usize) -> Self {
        Self { max_payload }
    }

    /// Returns the maximum total size of the records in a reply, in bytes.
    pub(crate) fn reply_bytes(self) -> usize {
        self.max_record_bytes().min(MAX_REPLY_BYTES)
    }

    /// Returns the maximum total size of the records in a broadcast, in bytes.
    pub(crate) fn broadcast_bytes(self) -> usize {
        self.max_record_bytes()
            .min(MAX_BROADCAST_BYTES - MAX_ENVELOPE_BYTES)
    }

    fn max_record_bytes(self) -> usize {
        self.max_payload
            .saturating_sub(MAX_HEADER_BYTES + MAX_ENVELOPE_BYTES)
    }
}

/// The limits for a server with the default `max_payload`, 1 MiB.
impl Default for MessageLimits {
    fn default() -> Self {
        Self::new(1 << 20)
    }
}
