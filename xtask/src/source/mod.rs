//! Rust source files as text: which files the workspace has, their lines and tokens, and the
//! modules and paths that they name.
//!
//! What a file must look like is not decided here (tidy/), nor is which comments are shown
//! (prose.rs).

pub(crate) mod crates;
pub(crate) mod files;
pub(crate) mod lines;
pub(crate) mod references;
pub(crate) mod tokens;
