//! Operators and subscribers.

pub(crate) mod operators;
pub(crate) mod subscriber;
