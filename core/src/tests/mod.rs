//! tests.

pub(crate) mod lifecycle;
pub(crate) mod operator_actions;
pub(crate) mod random_histories;
pub(crate) mod scenario;
