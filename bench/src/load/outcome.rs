//! The results of a load: the number of replies, their latencies, and the CPU time used.
//!
//! The definition of a load is in spec.rs.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LoadOutcome {
    /// The number of requests, including those whose reply arrived too late to be counted.
    pub(crate) requests: usize,
    pub(crate) replies: usize,
    /// The time from the first request to the last counted reply.
    pub(crate) seconds: f64,
    /// Latencies in nanoseconds, each with the number of replies that had this latency.
    pub(crate) latencies: Vec<(u64, u64)>,
    /// CPU time in seconds: first of the generator, then of each process in [`LoadSpec::watch`].
    ///
    /// [`LoadSpec::watch`]: crate::load::spec::LoadSpec::watch
    pub(crate) cpu: Vec<f64>,
}

impl LoadOutcome {
    pub(crate) fn per_second(&self) -> f64 {
        self.replies as f64 / self.seconds
    }

    /// Returns a quantile of the latencies in microseconds. `quantile` is from 0 to 1.
    pub(crate) fn latency_us(&self, quantile: f64) -> f64 {
        let mut latencies = new_histogram();
        for (value, count) in &self.latencies {
            latencies.saturating_record_n(*value, *count);
        }
        latencies.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// Returns a histogram of nanoseconds with three significant digits.
pub(crate) fn new_histogram() -> Histogram<u64> {
    const MAX_NANOS: u64 = 100_000_000_000;
    Histogram::new_with_bounds(1, MAX_NANOS, 3).expect("valid bounds")
}
