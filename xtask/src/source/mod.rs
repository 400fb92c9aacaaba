//! Rust source files as text: which files the workspace has, and their lines split into code and comments.
//!
//! What a file must look like is not decided here (tidy/), nor is which comments are shown (prose.rs).

pub(crate) mod files;
pub(crate) mod lines;
