//! The rate limit for the reports of one host. It keeps a faulty agent from using up the
//! controller's time and the capacity that all agents share. The limits for all hosts together are
//! in `capacity`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use scuttle_schemas::MAX_HEARTBEAT_BYTES;
use scuttle_schemas::agents::MAX_PAGES;

/// The minimum time between two removals of the full buckets from the map.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The size and the refill rate of each host's token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostRateLimit {
    /// The maximum number of reports in a burst, and also the number that is allowed per second.
    pub reports: u64,
    /// The maximum number of payload bytes in a burst.
    pub burst_bytes: u64,
    /// The number of payload bytes that is allowed per second.
    pub bytes_per_second: u64,
}

impl HostRateLimit {
    /// The rate limit of a controller in production. A correct agent never reaches it.
    ///
    /// - Reports: several times the rate of an agent that constantly tears down deckies. Decoding
    ///   1024 reports and replying to them takes a few milliseconds.
    /// - Burst bytes: the size of the longest possible inventory, which is half of the capacity for
    ///   the reports of all hosts.
    /// - Bytes per second: the amount that can be decoded in 10 ms.
    pub const STANDARD: Self = Self {
        reports: 1024,
        burst_bytes: (MAX_PAGES as usize * MAX_HEARTBEAT_BYTES) as u64,
        bytes_per_second: 2 << 20,
    };
}

/// The token buckets of all hosts.
#[derive(Debug)]
pub(crate) struct HostRateLimiter {
    limit: HostRateLimit,
    // Held for one lookup, never across an await.
    hosts: Mutex<Hosts>,
}

#[derive(Debug)]
struct Hosts {
    swept_at: Instant,
    /// The buckets by host. A host without an entry has a full bucket. There are at most as many
    /// entries as hosts that the NATS server allows to publish reports.
    buckets: HashMap<Box<str>, TokenBucket>,
}

/// The token bucket of one host. The two counters hold the used tokens that have not been refilled
/// yet, in thousandths of a token, so that the refill for one millisecond is a whole number.
#[derive(Debug)]
struct TokenBucket {
    used_reports: u64,
    used_bytes: u64,
    refilled_at: Instant,
}

impl TokenBucket {
    fn full(now: Instant) -> Self {
        Self {
            used_reports: 0,
            used_bytes: 0,
            refilled_at: now,
        }
    }

    fn is_full(&self) -> bool {
        self.used_reports == 0 && self.used_bytes == 0
    }

    /// Adds the tokens for the time since the last refill.
    fn refill(&mut self, limit: &HostRateLimit, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled_at);
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        if millis > 0 {
            let regained = |rate: u64| rate.saturating_mul(millis);
            self.used_reports = self.used_reports.saturating_sub(regained(limit.reports));
            let bytes = regained(limit.bytes_per_second);
            self.used_bytes = self.used_bytes.saturating_sub(bytes);
            self.refilled_at = now;
        }
    }

    /// Takes the tokens for one report of `bytes` bytes and returns true, or takes nothing and
    /// returns false if there are too few.
    fn try_take(&mut self, limit: &HostRateLimit, bytes: usize) -> bool {
        let reports = self.used_reports + 1000;
        let bytes = self.used_bytes.saturating_add(bytes as u64 * 1000);
        let fits = reports <= limit.reports * 1000 && bytes <= limit.burst_bytes * 1000;
        if fits {
            (self.used_reports, self.used_bytes) = (reports, bytes);
        }
        fits
    }
}

impl HostRateLimiter {
    pub(crate) fn new(limit: HostRateLimit) -> Self {
        let hosts = Mutex::new(Hosts {
            swept_at: Instant::now(),
            buckets: HashMap::new(),
        });
        Self { limit, hosts }
    }

    /// Takes the tokens for one report of `bytes` bytes from the host's bucket and returns true, or
    /// takes nothing and returns false if there are too few.
    pub(crate) fn try_take(&self, host: &str, bytes: usize, now: Instant) -> bool {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let Hosts { swept_at, buckets } = &mut *hosts;
        if now.saturating_duration_since(*swept_at) >= SWEEP_INTERVAL {
            *swept_at = now;
            buckets.retain(|_, bucket| {
                bucket.refill(&self.limit, now);
                !bucket.is_full()
            });
        }
        let Some(bucket) = buckets.get_mut(host) else {
            let mut bucket = TokenBucket::full(now);
            let fits = bucket.try_take(&self.limit, bytes);
            buckets.insert(host.into(), bucket);
            return fits;
        };
        bucket.refill(&self.limit, now);
        bucket.try_take(&self.limit, bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{HostRateLimit, HostRateLimiter};

    #[test]
    fn each_host_has_a_separate_bucket_that_refills() {
        let limiter = HostRateLimiter::new(HostRateLimit {
            reports: 3,
            burst_bytes: 100,
            bytes_per_second: 10,
        });
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let take = |host, bytes| limiter.try_take(host, bytes, start);
        assert!(take("a", 10));
        assert!(!take("a", 91), "too many bytes");
        assert!(take("a", 90) && take("a", 0));
        assert!(!take("a", 0), "too many reports");
        assert!(take("b", 100), "the bucket of another host");
        assert!(!take("b", 1));

        assert!(!limiter.try_take("a", 0, after(333)));
        assert!(limiter.try_take("a", 0, after(334)));
        assert!(
            !limiter.try_take("a", 11, after(1_000)),
            "ten bytes refill in a second"
        );
        assert!(limiter.try_take("a", 10, after(1_000)));

        assert!(limiter.try_take("c", 0, after(12_000)));
        let known = limiter.hosts.lock().expect("not poisoned").buckets.len();
        assert_eq!(known, 1, "hosts with a full bucket are forgotten");
    }
}
