//! Clients that watch the controllers while faults occur.

pub(crate) mod availability;
pub(crate) mod broadcast_recorder;
pub(crate) mod viewer;
