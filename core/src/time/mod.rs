//! time.

pub(crate) mod backoff;
pub(crate) mod clock_skew;
pub(crate) mod deadline;
pub(crate) mod liveness;
pub(crate) mod resend;
pub(crate) mod retention;
pub(crate) mod start;
pub(crate) mod tick;
