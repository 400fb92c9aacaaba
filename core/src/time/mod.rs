//! Actions that become due as time passes: resending commands, ending operations at their
//! deadlines, taking hosts offline, and removing old rows.

mod backoff;
mod clock_skew;
mod deadline;
pub(crate) mod liveness;
pub(crate) mod resend;
mod retention;
mod start;
mod tick;
