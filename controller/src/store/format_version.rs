//! The version of the stored format, and the position in a journal stream that a store records.

use serde::{Deserialize, Serialize};

/// The version of the table layout and of the encoding.
pub const FORMAT: u32 = 3;

/// The position in the journal stream that the rows reflect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamPosition {
    pub stream: String,
    /// The sequence of the last message that the rows contain.
    pub sequence: u64,
}
