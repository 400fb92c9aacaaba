//! The targets of a teardown, and what happened to them.

use std::collections::BTreeMap;

use scuttle_schemas::DeckyId;
use scuttle_schemas::agents::Evidence;

use super::super::deckies::grouping::Decky;

/// The targets of a teardown, with the containers and networks that they had at its start.
pub(super) type Targets = BTreeMap<DeckyId, Decky>;

/// The error for an object that should have been removed and that belongs to no single decky.
#[derive(Debug)]
pub(super) struct Leftover(pub(super) String);

/// The outcome for one decky.
#[derive(Debug, Default)]
pub(super) struct DeckyOutcome {
    /// The errors of the containers and networks, in the order of the steps. They are reported if
    /// the decky is not completely removed.
    pub(super) errors: Vec<String>,
    /// The archive with the evidence of the decky, if it was saved.
    pub(super) evidence: Option<Evidence>,
}
