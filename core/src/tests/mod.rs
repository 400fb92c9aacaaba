//! Tests of the core through `State::step` and `State::close` only.

mod lifecycle;
mod operator_actions;
mod random_histories;
pub(crate) mod scenario;
