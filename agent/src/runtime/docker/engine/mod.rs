//! Access to the Docker Engine. Knows nothing about deckies.
//!
//! - `container` reads the entries of a listing.
//! - `raw_get` sends requests whose responses the API client cannot read.
//! - `client` makes the calls, each with a timeout.
//! - `retry` repeats calls while the Engine is unreachable.
//! - `stop_settings` caches what a stop must know about each container.

pub(super) mod client;
pub(super) mod container;
pub(super) mod raw_get;
pub(super) mod retry;
pub(super) mod stop_settings;
