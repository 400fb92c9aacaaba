//! What happens because time passes: commands are sent again, deadlines pass, hosts go offline, and
//! old rows are removed.

mod backoff;
mod clock_skew;
mod deadline;
pub(crate) mod liveness;
pub(crate) mod resend;
mod retention;
mod start;
mod tick;
