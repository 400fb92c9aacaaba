//! Sends requests from a separate process, so that no figure includes the work of the measuring
//! process.
//!
//! The measuring process writes a [`spec::LoadSpec`] as one line of JSON and reads a
//! [`outcome::LoadOutcome`] as one line. All compared services are measured by the same code, with
//! requests of the same size. The requests are sent through the client's `request`, as a program
//! would send them. (A generator with one inbox and no bookkeeping for each request would drive the
//! echo service about twice as fast, and so would halve every ratio to the echo service.)
//!
//! A latency is measured from the time at which the request was *due*. In a closed loop, this is
//! the arrival of the previous reply in the same slot. In an open loop, it is the scheduled time.
//! So the latencies include the delay that a slow reply causes for later requests.

pub(crate) mod cpu_time;
pub(crate) mod driver;
pub(crate) mod generator;
pub(crate) mod outcome;
mod removals;
mod reply;
mod schedule;
mod sender;
pub(crate) mod spec;
