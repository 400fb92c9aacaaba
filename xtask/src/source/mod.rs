//! Rust source files as text: the files of the workspace, their lines and tokens, and the modules
//! and paths that they name.
//!
//! The rules for files are in tidy/. prose.rs selects the comments to show.

pub(crate) mod crates;
pub(crate) mod files;
pub(crate) mod lines;
pub(crate) mod references;
pub(crate) mod tokens;
