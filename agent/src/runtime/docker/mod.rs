//! Docker as a runtime, through the API of the Docker Engine.
//!
//! The modules, lowest layer first:
//!
//! - `container` reads the entries of a listing.
//! - `preset` is the rule that determines the deckies, and `settings` holds the operator's
//!   configuration.
//! - `raw_get`, `engine` and `engine_retry` make the API calls.
//! - `names` maps names to decky ids, and `register` remembers the known deckies.
//! - `listing` lists containers and networks, `deckies` groups them into deckies, and
//!   `shared_register` updates the register with them.
//! - `notes` collects what the operator should know about the host.
//! - `stop_settings` caches what a stop must know about each container.
//! - `evidence` saves the logs and changed files of containers before their removal.
//! - `teardown` removes deckies.
//! - `docker_runtime` implements the `Runtime` trait.
//! - `watcher` keeps the runtime's inventory current.

mod container;
mod deckies;
#[cfg(test)]
mod deckies_tests;
pub mod docker_runtime;
mod engine;
mod engine_retry;
mod evidence;
mod listing;
mod names;
mod notes;
pub mod preset;
mod raw_get;
mod register;
pub mod settings;
mod shared_register;
mod stop_settings;
mod teardown;
mod watcher;
