//! Hosts, their deckies and their agents.

pub(crate) mod deckies;
pub(crate) mod host;
