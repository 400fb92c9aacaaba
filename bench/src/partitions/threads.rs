//! What each thread of some processes has used of the processors while something was asked, beyond what it uses when nothing is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cpu;

/// A thread: its process, and its id.
pub(super) type Thread = (u32, u32);

/// A moment.
pub(super) struct Moment {
    at: Instant,
    used: BTreeMap<Thread, Duration>,
}

/// Seconds on a processor between two moments.
#[derive(Debug)]
pub(super) struct Used {
    seconds: f64,
    of: BTreeMap<Thread, f64>,
}

impl Moment {
    pub(super) fn now(processes: &[u32]) -> Result<Self> {
        let mut used = BTreeMap::new();
        for process in processes {
            let threads = cpu::used_by_threads(*process)?.into_iter();
            used.extend(threads.map(|(thread, time)| ((*process, thread), time)));
        }
        Ok(Self {
            at: Instant::now(),
            used,
        })
    }

    /// Since then.
    pub(super) fn since(&self, then: &Self) -> Used {
        let used = |(thread, time): (&Thread, &Duration)| {
            let before = then.used.get(thread).copied().unwrap_or_default();
            (*thread, time.saturating_sub(before).as_secs_f64())
        };
        Used {
            seconds: (self.at - then.at).as_secs_f64(),
            of: self.used.iter().map(used).collect(),
        }
    }
}

impl Used {
    /// Without what each thread uses in the same time when nothing is asked.
    pub(super) fn beyond(mut self, idle: &Self) -> Self {
        let times = self.seconds / idle.seconds;
        for (thread, used) in &mut self.of {
            *used -= idle.by(*thread) * times;
        }
        self
    }

    /// What this thread has used.
    pub(super) fn by(&self, thread: Thread) -> f64 {
        self.of.get(&thread).copied().unwrap_or_default()
    }

    /// What all have used together.
    pub(super) fn by_all(&self) -> f64 {
        self.of.values().sum()
    }

    /// The one that has used the most, and how much.
    pub(super) fn busiest(&self) -> Option<(Thread, f64)> {
        let used = self.of.iter().map(|(thread, used)| (*thread, *used));
        used.max_by(|one, other| one.1.total_cmp(&other.1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Moment;

    #[test]
    fn what_is_used_without_being_asked_does_not_count() {
        let begin = Instant::now();
        let at = |seconds, used: &[(u32, u64)]| Moment {
            at: begin + Duration::from_secs(seconds),
            used: (used.iter())
                .map(|(thread, millis)| ((1, *thread), Duration::from_millis(*millis)))
                .collect(),
        };
        let moments = [
            at(0, &[(1, 0), (2, 500)]),
            at(1, &[(1, 10), (2, 500)]),
            at(3, &[(1, 530), (2, 700), (3, 40)]),
        ];
        let idle = moments[1].since(&moments[0]);
        let used = moments[2].since(&moments[1]).beyond(&idle);
        let near = |one: f64, other: f64| assert!((one - other).abs() < 1e-9, "{one} {other}");
        near(used.by((1, 1)), 0.5);
        near(used.by((1, 3)), 0.04);
        near(used.by_all(), 0.74);
        assert_eq!(used.busiest().map(|(thread, _)| thread), Some((1, 1)));
    }
}
