//! Bounds the work in progress. An input holds a [`Permit`] from its admission until its reply has
//! been sent. An input that gets no reply holds its permit until it has been decided. The error
//! replies for inputs without a permit are defined in `request`.
//!
//! The counters are plain atomics instead of `tokio::sync::Semaphore`. Every input takes two
//! amounts, a number of messages and a number of bytes. With semaphores, this took more than twice
//! as long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use scuttle_core::Input;

use crate::admission::host_rate_limit::{HostRateLimit, HostRateLimiter};

/// The limits on the inputs in progress, by number and by payload bytes, and the rate limit for
/// each host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The maximum number of requests to change something, including dry runs.
    pub changes: usize,
    /// The maximum number of agent reports.
    pub reports: usize,
    /// The maximum number of requests that only read.
    pub reads: usize,
    /// The maximum number of broadcasts that the leaders of other partitions send to be relayed.
    pub relays: usize,
    /// The maximum number of payload bytes of changes and reads together.
    pub request_bytes: usize,
    /// The maximum number of payload bytes of reports.
    pub report_bytes: usize,
    /// The maximum number of payload bytes of relayed broadcasts.
    pub relay_bytes: usize,
    /// The rate limit for the reports of each host.
    pub host_rate: HostRateLimit,
}

impl Limits {
    /// The limits of a controller in production.
    ///
    /// - Changes and reports: each limit is about 0.2 s of the engine's work. A requester is
    ///   therefore rejected with `overloaded` before its own timeout expires. Separate limits keep
    ///   a flood of reports from locking out the operators, and a flood of changes from locking out
    ///   the agents.
    /// - Reads: a separate limit allows lists to be served while changes are rejected. The limit is
    ///   low, because each reply may hold 1 MB of memory until it is sent.
    /// - Bytes: requests are short. The limit for reports fits the inventories of a few hundred
    ///   large hosts at once. A decoded payload takes several times its size in memory.
    /// - Relayed broadcasts: a broadcast beyond the limit is dropped. Subscribers then notice the
    ///   gap and list the records again.
    pub const STANDARD: Self = Self {
        changes: 8192,
        reports: 8192,
        reads: 256,
        relays: 1024,
        request_bytes: 16 << 20,
        report_bytes: 64 << 20,
        relay_bytes: 64 << 20,
        host_rate: HostRateLimit::STANDARD,
    };
}

/// Issues permits, up to the limits of a controller. Clones share the limits and the current usage.
#[derive(Debug, Clone)]
pub struct Capacity(Arc<Pools>);

#[derive(Debug)]
struct Pools {
    changes: Pool,
    reports: Pool,
    reads: Pool,
    relays: Pool,
    request_bytes: Pool,
    report_bytes: Pool,
    relay_bytes: Pool,
    host_rates: HostRateLimiter,
}

/// One limit, and the amount of it that is in use.
#[derive(Debug)]
struct Pool {
    used: AtomicUsize,
    limit: usize,
}

impl Pool {
    fn new(limit: usize) -> Self {
        let used = AtomicUsize::new(0);
        Self { used, limit }
    }

    /// Takes the whole amount and returns true, or takes nothing and returns false if the amount
    /// does not fit.
    fn try_take(&self, amount: usize) -> bool {
        let add = |used: usize| used.checked_add(amount).filter(|sum| *sum <= self.limit);
        let taken = (self.used).fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        taken.is_ok()
    }

    fn release(&self, amount: usize) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
    }

    fn usage(&self) -> Usage {
        Usage {
            used: self.used.load(Ordering::Relaxed),
            limit: self.limit,
        }
    }
}

/// The kind of an input, which determines the limits that apply.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Change,
    Report,
    Read,
    Relay,
}

impl Kind {
    fn of(input: &Input) -> Self {
        match input {
            Input::Progress { .. }
            | Input::Result { .. }
            | Input::Heartbeat { .. }
            | Input::Quarantine { .. } => Self::Report,
            Input::ShardsList(_)
            | Input::HostsList(_)
            | Input::OperationsList(_)
            | Input::OperationGet(_) => Self::Read,
            Input::Relay { .. } => Self::Relay,
            Input::Linearizable(input) => Self::of(input),
            Input::Start
            | Input::Tick
            | Input::Teardown(_)
            | Input::Cancel(_)
            | Input::Enroll { .. }
            | Input::UpdateHost(_)
            | Input::Decommission(_)
            | Input::Protect(_) => Self::Change,
        }
    }
}

impl Pools {
    fn messages(&self, kind: Kind) -> &Pool {
        match kind {
            Kind::Change => &self.changes,
            Kind::Report => &self.reports,
            Kind::Read => &self.reads,
            Kind::Relay => &self.relays,
        }
    }

    fn bytes(&self, kind: Kind) -> &Pool {
        match kind {
            Kind::Report => &self.report_bytes,
            Kind::Relay => &self.relay_bytes,
            Kind::Change | Kind::Read => &self.request_bytes,
        }
    }
}

/// The right of one input to be in progress. Dropping the permit releases the capacity.
#[derive(Debug)]
pub struct Permit {
    pools: Arc<Pools>,
    kind: Kind,
    bytes: usize,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pools.messages(self.kind).release(1);
        self.pools.bytes(self.kind).release(self.bytes);
    }
}

/// One limit, and the amount of it that is in use, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub used: usize,
    pub limit: usize,
}

impl Usage {
    /// Adds the usage and the limit of another partition.
    pub(crate) fn add(self, other: Self) -> Self {
        Self {
            used: self.used + other.used,
            limit: self.limit + other.limit,
        }
    }
}

/// The usage for each kind of input. The string is the kind's name in the metrics.
pub type UsageByKind = Vec<(&'static str, Usage)>;

/// The usage of all limits at one moment.
#[derive(Debug, Default)]
pub struct CapacityUsage {
    /// The number of messages, for each kind.
    pub messages: UsageByKind,
    /// The number of payload bytes, for each kind.
    pub bytes: UsageByKind,
}

/// The reason why an input got no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdmissionError {
    /// The host is over its rate limit.
    RateLimited,
    /// The shared capacity for this kind of input is exhausted.
    Overloaded,
}

impl Capacity {
    pub fn new(limits: Limits) -> Self {
        let Limits {
            changes,
            reports,
            reads,
            relays,
            request_bytes,
            report_bytes,
            relay_bytes,
            host_rate,
        } = limits;
        Self(Arc::new(Pools {
            changes: Pool::new(changes),
            reports: Pool::new(reports),
            reads: Pool::new(reads),
            relays: Pool::new(relays),
            request_bytes: Pool::new(request_bytes),
            report_bytes: Pool::new(report_bytes),
            relay_bytes: Pool::new(relay_bytes),
            host_rates: HostRateLimiter::new(host_rate),
        }))
    }

    /// Returns the maximum number of inputs that can hold a permit at once. A queue of this length
    /// always has space for an input that has a permit.
    pub fn max_messages(&self) -> usize {
        let pools = &self.0;
        let counted = [&pools.changes, &pools.reports, &pools.reads, &pools.relays];
        counted.iter().map(|pool| pool.limit).sum()
    }

    /// Takes a permit for an input whose payload has `bytes` bytes.
    ///
    /// # Errors
    /// [`AdmissionError::Overloaded`] if the capacity for this kind of input is exhausted.
    pub fn admit(&self, input: &Input, bytes: usize) -> Result<Permit, AdmissionError> {
        self.take(Kind::of(input), bytes)
    }

    /// Takes a permit for a report from `host`. The report need not have been decoded yet.
    ///
    /// # Errors
    /// [`AdmissionError::RateLimited`] if the host is over its rate limit, or
    /// [`AdmissionError::Overloaded`] if the capacity for reports is exhausted.
    pub fn admit_report(&self, host: &str, bytes: usize) -> Result<Permit, AdmissionError> {
        if !self.0.host_rates.try_take(host, bytes, Instant::now()) {
            return Err(AdmissionError::RateLimited);
        }
        self.take(Kind::Report, bytes)
    }

    /// Takes capacity for one message and its bytes. Takes nothing and fails if either does not
    /// fit.
    fn take(&self, kind: Kind, bytes: usize) -> Result<Permit, AdmissionError> {
        let pools = &self.0;
        if !pools.messages(kind).try_take(1) {
            return Err(AdmissionError::Overloaded);
        }
        if !pools.bytes(kind).try_take(bytes) {
            pools.messages(kind).release(1);
            return Err(AdmissionError::Overloaded);
        }
        let pools = pools.clone();
        Ok(Permit { pools, kind, bytes })
    }

    pub fn usage(&self) -> CapacityUsage {
        let pools = &self.0;
        CapacityUsage {
            messages: vec![
                ("changes", pools.changes.usage()),
                ("reports", pools.reports.usage()),
                ("reads", pools.reads.usage()),
                ("relays", pools.relays.usage()),
            ],
            bytes: vec![
                ("requests", pools.request_bytes.usage()),
                ("reports", pools.report_bytes.usage()),
                ("relays", pools.relay_bytes.usage()),
            ],
        }
    }
}
