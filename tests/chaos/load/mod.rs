//! The load: operators that request teardowns.

pub(crate) mod operator;
pub(crate) mod request_log;
