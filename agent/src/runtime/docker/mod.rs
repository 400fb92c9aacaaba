//! Docker as a runtime, through the API of the Docker Engine.
//!
//! From the lowest layer: `container` reads the listings of the Engine, `deckies` decides which
//! containers belong to which decky, `settings` is what an operator configures, `engine` and
//! `engine_retry` make the API calls, `listing` reads the deckies that exist now, `report`
//! describes the outcome of a teardown, `teardown` and `networks` remove things, `docker_runtime`
//! implements the `Runtime` trait, and `watcher` keeps its inventory current.

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
