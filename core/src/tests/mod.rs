//! Tests of the core through `State::step` and `State::close` only.

mod lifecycle;
mod message_sizes;
mod operator_actions;
mod random_histories;
mod reports;
pub(crate) mod scenario;
