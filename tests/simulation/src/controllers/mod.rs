//! Handles the events of controllers.

pub(crate) mod engine;
pub(crate) mod leadership;
pub(crate) mod outbound;
pub(crate) mod pause;
pub(crate) mod process;
pub(crate) mod requests;
pub(crate) mod scatter_gather;
