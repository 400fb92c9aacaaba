//! The page limit of list requests.

use serde::{Deserialize, Serialize};

/// The maximum number of records on a page: 1 to 1000, and 500 by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(try_from = "u64")]
#[cfg_attr(feature = "generate", schemars(!try_from))]
pub struct PageLimit(#[cfg_attr(feature = "generate", schemars(range(min = 1, max = 1000)))] u16);

impl PageLimit {
    /// Returns the limit as a number.
    pub fn get(self) -> usize {
        self.0.into()
    }
}

impl Default for PageLimit {
    fn default() -> Self {
        Self(500)
    }
}

impl TryFrom<u64> for PageLimit {
    type Error = &'static str;
    fn try_from(limit: u64) -> Result<Self, Self::Error> {
        match u16::try_from(limit) {
            Ok(limit @ 1..=1000) => Ok(Self(limit)),
            _ => Err("limit must be 1 to 1000"),
        }
    }
}
