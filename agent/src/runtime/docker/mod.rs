//! Docker as a runtime, through the API of the Docker Engine.
//!
//! The modules, lowest layer first:
//!
//! - `engine` makes the API calls.
//! - `preset` is the rule that determines the deckies, and `settings` holds the operator's
//!   configuration.
//! - `deckies` groups containers and networks into deckies.
//! - `notes` collects what the operator should know about the host.
//! - `evidence` saves the logs and changed files of containers before their removal.
//! - `teardown` removes deckies.
//! - `docker_runtime` implements the `Runtime` trait.
//! - `watcher` keeps the runtime's inventory current.

mod deckies;
pub mod docker_runtime;
mod engine;
mod evidence;
mod notes;
pub mod preset;
pub mod settings;
mod teardown;
mod watcher;
