//! The verbs that create and change operations, and the code that they share: submitting and
//! waiting.

pub(crate) mod cancel;
pub(crate) mod retry;
mod submit;
pub(crate) mod teardown;
mod wait;
