//! A violated invariant, and the names of all invariants.

use std::fmt;

/// A violation of one of the invariants that `ARCHITECTURE.md` lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The number and the name of the violated invariant, or a note that the code under test
    /// panicked.
    pub invariant: &'static str,
    /// A sentence that says what violates the invariant, with the values that differ.
    pub details: String,
}

impl Violation {
    pub(crate) fn new(invariant: &'static str, details: String) -> Self {
        Self { invariant, details }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invariant {}: {}", self.invariant, self.details)
    }
}

/// Returns a violation of `invariant` unless `holds` is true.
pub(crate) fn ensure(
    holds: bool,
    invariant: &'static str,
    details: impl FnOnce() -> String,
) -> Result<(), Violation> {
    if holds {
        Ok(())
    } else {
        Err(Violation::new(invariant, details()))
    }
}

pub(crate) const NOTHING_LOST: &str = "1 nothing accepted is lost";
pub(crate) const REMOVAL_EVIDENCE: &str =
    "2 a shard is removed only when its agent reported it gone";
pub(crate) const OWN_HOST_ONLY: &str = "3 no host changes another host's shards";
pub(crate) const NO_REAPPEARANCE: &str = "4 a removed shard does not reappear";
pub(crate) const AT_MOST_ONCE: &str = "5 executed at most once";
pub(crate) const DURABLE_FIRST: &str = "6 everything sent is durable";
pub(crate) const GAPLESS_REVISIONS: &str = "7 revisions have no gaps, and each has one content";
pub(crate) const RECORD_MATCHES: &str = "8 record and reality agree";
pub(crate) const FAILURES_SHOWN: &str = "9 every failure is shown";
pub(crate) const COMMAND_ORDER: &str = "10 commands run in order";
pub(crate) const NEW_DEPLOYMENT: &str =
    "11 a new deployment is not affected by what concerns an earlier one";
pub(crate) const DISTINCT_HOSTS: &str = "12 a name or id leads to one active host";
pub(crate) const PROTECTED: &str = "13 only an override tears down a protected target";
