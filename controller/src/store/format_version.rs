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
