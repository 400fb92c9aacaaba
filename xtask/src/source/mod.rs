//! Rust source files as text: which files the workspace has, their lines and tokens, and the
//! modules and paths that they name.
//!
//! The rules for files are in tidy/. The selection of the comments to show is in prose.rs.

pub(crate) mod crates;
pub(crate) mod files;
pub(crate) mod lines;
pub(crate) mod references;
pub(crate) mod tokens;
