//! Finds the programs that the steps need and that are not part of Rust. Installs a missing program
//! under target/ or with apt-get.
//!
//! The steps that run these programs are in steps/.

pub(crate) mod apt;
pub(crate) mod cargo_deny;
pub(crate) mod docker_compose;
pub(crate) mod nats_server;
pub(crate) mod node;
pub(crate) mod pip;
pub(crate) mod promtool;
