//! Sends requests from a separate process, so that the work of the measuring process is in no
//! figure.
//!
//! The measuring process writes a [`spec::LoadSpec`] as one line of JSON and reads a
//! [`outcome::LoadOutcome`] as one line. Everything that is compared is measured by the same code,
//! with requests of the same size, through the client's `request`, as a program would send them. (A
//! generator with one inbox and no bookkeeping for each request would drive the echo service about
//! twice as fast, and so halve every ratio to it.)
//!
//! A latency counts from the moment at which its request was *due*. In a closed loop, that is when
//! the previous reply of the same slot came in. In an open loop, it is the scheduled time. So the
//! requests that a slow reply delays are not left out of the latencies.

pub(crate) mod cpu_time;
pub(crate) mod driver;
pub(crate) mod generator;
pub(crate) mod outcome;
mod removals;
mod reply;
mod schedule;
mod sender;
pub(crate) mod spec;
