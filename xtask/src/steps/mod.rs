//! The steps of `cargo xtask test` and `cargo xtask check`, a file for each subject.
//!
//! The rules that a check enforces are elsewhere: in tidy/, clippy.toml, deny.toml and the tests.

pub(crate) mod alerts;
pub(crate) mod chaos;
pub(crate) mod dependencies;
pub(crate) mod docker;
pub(crate) mod instructions;
pub(crate) mod rust;
pub(crate) mod simulation;
pub(crate) mod web;
