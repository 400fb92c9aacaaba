//! The CPU time that the threads of some processes use while requests are sent, minus their idle
//! usage.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::load::cpu_time;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ThreadId {
    process: u32,
    thread: u32,
}

/// The CPU time that each thread has used up to one moment.
pub(super) struct CpuSnapshot {
    at: Instant,
    times: BTreeMap<ThreadId, Duration>,
}

/// The CPU time of each thread between two moments, in seconds.
#[derive(Debug)]
pub(super) struct CpuUsage {
    elapsed: f64,
    by_thread: BTreeMap<ThreadId, f64>,
}

impl CpuSnapshot {
    pub(super) fn take(processes: &[u32]) -> Result<Self> {
        let mut times = BTreeMap::new();
        for process in processes {
            let threads = cpu_time::of_threads(*process)?.into_iter();
            times.extend(threads.map(|(thread, time)| {
                let process = *process;
                (ThreadId { process, thread }, time)
            }));
        }
        Ok(Self {
            at: Instant::now(),
            times,
        })
    }

    pub(super) fn since(&self, before: &Self) -> CpuUsage {
        let used = |(thread, time): (&ThreadId, &Duration)| {
            let before = before.times.get(thread).copied().unwrap_or_default();
            (*thread, time.saturating_sub(before).as_secs_f64())
        };
        CpuUsage {
            elapsed: (self.at - before.at).as_secs_f64(),
            by_thread: self.times.iter().map(used).collect(),
        }
    }
}

impl CpuUsage {
    /// Subtracts the CPU time that each thread uses in the same time when idle.
    pub(super) fn minus_idle(mut self, idle: &Self) -> Self {
        let factor = self.elapsed / idle.elapsed;
        for (thread, used) in &mut self.by_thread {
            *used -= idle.of_thread(*thread) * factor;
        }
        self
    }

    pub(super) fn of_thread(&self, thread: ThreadId) -> f64 {
        self.by_thread.get(&thread).copied().unwrap_or_default()
    }

    pub(super) fn total(&self) -> f64 {
        self.by_thread.values().sum()
    }

    /// Returns the thread that has used the most CPU time, and its CPU time.
    pub(super) fn busiest(&self) -> Option<(ThreadId, f64)> {
        let used = self.by_thread.iter().map(|(thread, used)| (*thread, *used));
        used.max_by(|one, other| one.1.total_cmp(&other.1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{CpuSnapshot, ThreadId};

    #[test]
    fn the_usage_of_an_idle_process_is_subtracted() {
        let begin = Instant::now();
        let id = |thread| ThreadId { process: 1, thread };
        let at = |seconds, used: &[(u32, u64)]| CpuSnapshot {
            at: begin + Duration::from_secs(seconds),
            times: (used.iter())
                .map(|(thread, millis)| (id(*thread), Duration::from_millis(*millis)))
                .collect(),
        };
        let snapshots = [
            at(0, &[(1, 0), (2, 500)]),
            at(1, &[(1, 10), (2, 500)]),
            at(3, &[(1, 530), (2, 700), (3, 40)]),
        ];
        let idle = snapshots[1].since(&snapshots[0]);
        let used = snapshots[2].since(&snapshots[1]).minus_idle(&idle);
        let near = |one: f64, other: f64| assert!((one - other).abs() < 1e-9, "{one} {other}");
        near(used.of_thread(id(1)), 0.5);
        near(used.of_thread(id(3)), 0.04);
        near(used.total(), 0.74);
        assert_eq!(used.busiest().map(|(thread, _)| thread), Some(id(1)));
    }
}
