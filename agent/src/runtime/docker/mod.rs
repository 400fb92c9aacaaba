//! Docker as a runtime, through the API of the Docker Engine.
//!
//! The modules, lowest layer first:
//!
//! - `container` reads the listings of the Engine.
//! - `deckies` groups containers into deckies.
//! - `settings` holds the operator's configuration.
//! - `engine` and `engine_retry` make the API calls.
//! - `listing` reads the deckies that exist now.
//! - `report` describes the outcome of a teardown.
//! - `teardown` and `networks` remove containers and networks.
//! - `docker_runtime` implements the `Runtime` trait.
//! - `watcher` keeps the runtime's inventory current.

mod container;
pub mod deckies;
#[cfg(test)]
mod deckies_tests;
pub mod docker_runtime;
mod engine;
mod engine_retry;
mod listing;
mod networks;
mod report;
pub mod settings;
mod teardown;
mod watcher;
