//! The evidence of deckies that are torn down: the logs, the changed files and the description of
//! their containers, in one archive per decky and operation.
//!
//! The modules, lowest layer first:
//!
//! - `error` and `settings`.
//! - `chunk_stream` passes data from an asynchronous source to a thread that writes an archive.
//! - `disk` has the file operations, so that a test can simulate a crash between any two of them.
//! - `manifest` defines the description of an archive.
//! - `retention` decides which archives are dropped to make room.
//! - `store` manages the directory of all archives.
//! - `archive` writes one archive, and `files_tar` writes the changed files into it.
//!
//! This module does not know Docker. `runtime::docker` reads the containers and fills the archives.
//! docs/evidence.md describes the format for the people who read the archives.

pub(crate) mod archive;
mod archive_name;
pub(crate) mod chunk_stream;
mod disk;
pub mod error;
pub(crate) mod files_tar;
pub mod manifest;
mod retention;
pub mod settings;
pub mod store;
#[cfg(test)]
mod tests;
