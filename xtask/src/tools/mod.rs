//! The programs that steps need and that do not come with Rust: finds each, or installs it under
//! target/ or with apt-get.
//!
//! What the steps do with them is in steps/.

pub(crate) mod apt;
pub(crate) mod cargo_deny;
pub(crate) mod docker_compose;
pub(crate) mod nats_server;
pub(crate) mod node;
pub(crate) mod pip;
pub(crate) mod promtool;
