//! The quarantined hosts, and the counts of malformed messages after which a host should be
//! quarantined. The core decides on the quarantine itself.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use scuttle_schemas::HostId;

/// The number of malformed messages within [`WINDOW`] after which a host is quarantined. An agent
/// of this project never sends one.
const THRESHOLD: u32 = 10;

/// The duration for which a host's malformed messages are counted together.
const WINDOW: Duration = Duration::from_mins(1);

/// The maximum number of hosts whose malformed messages are counted at the same time.
const MAX_SUSPECTS: usize = 1024;

/// The quarantined hosts of one leader. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Quarantine(Arc<Mutex<Hosts>>);

#[derive(Debug, Default)]
struct Hosts {
    quarantined: HashSet<HostId>,
    suspects: HashMap<HostId, Suspect>,
}

/// A host that has sent a malformed message.
#[derive(Debug)]
struct Suspect {
    since: Instant,
    count: u32,
}

impl Quarantine {
    /// Returns whether the reports of a host must be dropped. `host` is the token in their subject.
    pub fn contains(&self, host: Option<&str>) -> bool {
        let hosts = self.lock();
        if hosts.quarantined.is_empty() {
            return false;
        }
        let host = host.and_then(|host| host.parse().ok());
        host.is_some_and(|host: HostId| hosts.quarantined.contains(&host))
    }

    /// Counts a malformed message of a host. Returns true if the host should be quarantined, once
    /// for every [`THRESHOLD`] messages.
    pub fn count_malformed(&self, host: &HostId, now: Instant) -> bool {
        let suspects = &mut self.lock().suspects;
        if suspects.len() >= MAX_SUSPECTS && !suspects.contains_key(host) {
            suspects.retain(|_, suspect| now < suspect.since + WINDOW);
            if suspects.len() >= MAX_SUSPECTS {
                return false;
            }
        }
        let new = Suspect {
            since: now,
            count: 0,
        };
        let suspect = suspects.entry(host.clone()).or_insert(new);
        if now >= suspect.since + WINDOW {
            suspect.since = now;
            suspect.count = 0;
        }
        suspect.count += 1;
        suspect.count.is_multiple_of(THRESHOLD)
    }

    /// Sets whether the reports of a host are dropped. A readmitted host is no longer suspect.
    pub fn set(&self, host: &HostId, quarantined: bool) {
        let hosts = &mut *self.lock();
        hosts.suspects.remove(host);
        if quarantined {
            hosts.quarantined.insert(host.clone());
        } else {
            hosts.quarantined.remove(host);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Hosts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use scuttle_schemas::HostId;

    use super::{MAX_SUSPECTS, Quarantine, THRESHOLD, WINDOW};

    fn host(name: &str) -> HostId {
        name.parse().expect("valid")
    }

    #[test]
    fn a_host_is_due_after_ten_malformed_messages_within_a_minute() {
        let quarantine = Quarantine::default();
        let (a, b) = (host("a"), host("b"));
        let start = Instant::now();
        for _ in 1..THRESHOLD {
            assert!(!quarantine.count_malformed(&a, start));
        }
        assert!(!quarantine.count_malformed(&b, start), "counted by host");
        // The count starts again after a minute.
        let later = start + WINDOW;
        for _ in 1..THRESHOLD {
            assert!(!quarantine.count_malformed(&a, later));
        }
        assert!(quarantine.count_malformed(&a, later));
    }

    #[test]
    fn the_reports_of_a_quarantined_host_are_dropped_until_it_is_readmitted() {
        let quarantine = Quarantine::default();
        assert!(!quarantine.contains(Some("a")));
        quarantine.set(&host("a"), true);
        assert!(quarantine.contains(Some("a")));
        assert!(!quarantine.contains(Some("b")) && !quarantine.contains(None));
        quarantine.set(&host("a"), false);
        assert!(!quarantine.contains(Some("a")));
    }

    #[test]
    fn the_number_of_suspects_is_limited() {
        let quarantine = Quarantine::default();
        let start = Instant::now();
        for number in 0..2 * MAX_SUSPECTS {
            quarantine.count_malformed(&host(&format!("h{number}")), start);
        }
        assert_eq!(quarantine.lock().suspects.len(), MAX_SUSPECTS);
        quarantine.count_malformed(&host("late"), start + WINDOW);
        assert_eq!(quarantine.lock().suspects.len(), 1);
    }
}
