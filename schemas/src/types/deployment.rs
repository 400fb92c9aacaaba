//! The identity of one deployment of a decky.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

/// The maximum length of a deployment's identity, in characters.
const MAX_CHARS: usize = 64;

/// Identifies one deployment of a decky: 1 to 64 characters, which the agent derives from the ids
/// of the decky's containers. A decky that is deployed again has a different deployment.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "generate", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Deployment(
    #[cfg_attr(
        feature = "generate",
        schemars(with = "String", length(min = 1, max = MAX_CHARS))
    )]
    Arc<str>,
);

/// The error for a text that does not have 1 to 64 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("deployment must be 1 to {MAX_CHARS} characters")]
pub struct InvalidDeployment;

impl Deployment {
    /// Returns the identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Deployment {
    type Err = InvalidDeployment;
    fn from_str(text: &str) -> Result<Self, InvalidDeployment> {
        if (1..=MAX_CHARS).contains(&text.chars().count()) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidDeployment)
        }
    }
}

impl fmt::Display for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Deployment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::types::decode::parsed(deserializer, "a deployment", Self::from_str)
    }
}

#[cfg(test)]
mod tests {
    use super::Deployment;

    #[test]
    fn a_deployment_has_1_to_64_characters() {
        for valid in ["3f2a", "é", &"é".repeat(64)] {
            assert!(valid.parse::<Deployment>().is_ok(), "{valid:?}");
        }
        for invalid in ["", &"a".repeat(65)] {
            assert!(invalid.parse::<Deployment>().is_err(), "{invalid:?}");
        }
    }
}
