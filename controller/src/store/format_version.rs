//! The version of the stored format, and the position in a journal stream that a store records.

use serde::{Deserialize, Serialize};

/// The version of a store's tables and of the encoding of its rows and batches. Format 3 is read
/// too, and is upgraded.
pub const FORMAT: u32 = 4;

/// The position in a journal stream up to which a store's rows contain the changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPosition {
    pub stream: String,
    /// The sequence of the last message that the rows contain.
    pub sequence: u64,
}

/// The facts about a journal stream by which a store recognizes the stream again. A store records
/// them with its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownStream {
    /// The identity of the stream. A stream that replaces a deleted one has another identity.
    pub id: StreamId,
    /// The sequence at which the stream started when it was last known to be complete.
    pub first: u64,
    /// The time of the last `recover`, in milliseconds since 1970, or 0 if there was none. A
    /// recovery replaces the content of the stream.
    pub recovered_at: u64,
}

/// The identity of a stream: the time of its creation on the NATS servers, in nanoseconds since
/// 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamId(pub i64);
