//! The steps of `cargo xtask test` and `cargo xtask check`, a file for each subject.
//!
//! What a check looks for is elsewhere: in tidy/, clippy.toml, deny.toml, and the tests themselves.

pub(crate) mod alerts;
pub(crate) mod chaos;
pub(crate) mod dependencies;
pub(crate) mod docker;
pub(crate) mod instructions;
pub(crate) mod rust;
pub(crate) mod simulation;
pub(crate) mod web;
