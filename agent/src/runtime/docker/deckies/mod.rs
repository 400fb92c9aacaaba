//! The deckies of the host: which containers and networks of the Engine belong to which decky.
//!
//! - `names` maps names to decky ids.
//! - `register` remembers the known deckies on disk.
//! - `listing` lists containers and networks.
//! - `labels` collects the labels of a decky.
//! - `grouping` groups a listing into deckies.
//! - `shared_register` updates the register with each listing.

pub(super) mod grouping;
#[cfg(test)]
mod grouping_tests;
mod labels;
pub(super) mod listing;
mod names;
pub(super) mod register;
pub(super) mod shared_register;
