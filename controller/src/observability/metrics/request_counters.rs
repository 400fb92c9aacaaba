//! What was answered, counted by endpoint: what was granted, and what was refused for which reason. What was
//! refused or ignored for a reason that the sender may not be told is in `counters`.

use std::sync::atomic::{AtomicU64, Ordering};

use scuttle_core::Reply;
use scuttle_schemas::ErrorCode;

use crate::request::endpoint::Endpoint;

const CODES: usize = ErrorCode::ALL.len();

/// The counts of one endpoint.
#[derive(Debug, Default)]
struct Counts {
    all: AtomicU64,
    refused: [AtomicU64; CODES],
}

/// The counts since the start.
#[derive(Debug, Default)]
pub struct Answers {
    endpoints: [Counts; Endpoint::ALL.len()],
    /// Accepted teardowns that made an operation.
    made: AtomicU64,
    /// Accepted teardowns that were answered with one that was there.
    repeated: AtomicU64,
}

impl Answers {
    /// Counts an answer that may be told, whether or not there is a way to tell it.
    pub fn count(&self, endpoint: Endpoint, reply: &Reply) {
        let counts = &self.endpoints[endpoint as usize];
        add(&counts.all);
        match reply {
            Reply::Rejected(refusal) => add(&counts.refused[refusal.code as usize]),
            Reply::Teardown(accepted) if accepted.repeated => add(&self.repeated),
            Reply::Teardown(_) => add(&self.made),
            _ => {}
        }
    }

    /// How many requests of an endpoint were answered, refusals included.
    pub fn all(&self, endpoint: Endpoint) -> u64 {
        self.endpoints[endpoint as usize]
            .all
            .load(Ordering::Relaxed)
    }

    /// How many of them were granted.
    pub fn granted(&self, endpoint: Endpoint) -> u64 {
        let refused: u64 = self.refused(endpoint).map(|(_, count)| count).sum();
        // They are counted one after the other.
        self.all(endpoint).saturating_sub(refused)
    }

    /// How many of them were refused, for each reason that there is.
    pub fn refused(&self, endpoint: Endpoint) -> impl Iterator<Item = (ErrorCode, u64)> {
        let counts = &self.endpoints[endpoint as usize].refused;
        let counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
        ErrorCode::ALL.into_iter().zip(counts)
    }

    /// How many teardowns were accepted: those that made an operation, and those answered with one that was there.
    pub fn teardowns(&self) -> (u64, u64) {
        (
            self.made.load(Ordering::Relaxed),
            self.repeated.load(Ordering::Relaxed),
        )
    }
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
