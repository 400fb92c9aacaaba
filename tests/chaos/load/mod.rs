//! The load: operators who request teardowns.

pub(crate) mod operator;
pub(crate) mod request_log;
