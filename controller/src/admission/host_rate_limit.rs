//! How much of one host is read, so that an agent that has gone wrong takes neither the time nor the room of the others.
//! Room for all of them together is in `inbox`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use scuttle_schemas::MAX_HEARTBEAT_BYTES;
use scuttle_schemas::agents::MAX_PAGES;

/// How often hosts that have said nothing for a while are forgotten.
const SWEEP: Duration = Duration::from_secs(1);

/// How much of one host is read at once, and how much of that comes back each second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Reports at once, and each second.
    pub reports: u64,
    /// Bytes of their payloads at once.
    pub bytes: u64,
    /// Bytes that come back each second.
    pub bytes_a_second: u64,
}

impl Share {
    /// The controller's: an agent in order does not come to it, whatever it has to say. Reports: several times what an
    /// agent makes that does nothing but tear down; to read and answer so many takes some thousandths of a second.
    /// Bytes: the longest inventory, half of the room that there is for reports; and then what is read in a
    /// hundredth of each second.
    pub const STANDARD: Self = Self {
        reports: 1024,
        bytes: (MAX_PAGES as usize * MAX_HEARTBEAT_BYTES) as u64,
        bytes_a_second: 2 << 20,
    };
}

/// What has been taken of each host lately.
#[derive(Debug)]
pub(crate) struct Shares {
    most: Share,
    // Held for a look into the map, never across an await.
    hosts: Mutex<Hosts>,
}

#[derive(Debug)]
struct Hosts {
    swept: Instant,
    /// Only hosts that have not all of their share again: as many as the server's permissions let speak.
    taken: HashMap<Box<str>, Taken>,
}

/// In thousandths, so that what comes back in a millisecond is whole.
#[derive(Debug)]
struct Taken {
    reports: u64,
    bytes: u64,
    at: Instant,
}

impl Taken {
    /// Gives back what has come back by now.
    fn settle(&mut self, most: &Share, now: Instant) {
        let past = now.saturating_duration_since(self.at);
        let millis = u64::try_from(past.as_millis()).unwrap_or(u64::MAX);
        if millis > 0 {
            let back = |rate: u64| rate.saturating_mul(millis);
            self.reports = self.reports.saturating_sub(back(most.reports));
            self.bytes = self.bytes.saturating_sub(back(most.bytes_a_second));
            self.at = now;
        }
    }

    /// Takes one report of so many bytes, or nothing.
    fn take(&mut self, most: &Share, bytes: usize) -> bool {
        let reports = self.reports + 1000;
        let bytes = self.bytes.saturating_add(bytes as u64 * 1000);
        let fits = reports <= most.reports * 1000 && bytes <= most.bytes * 1000;
        if fits {
            (self.reports, self.bytes) = (reports, bytes);
        }
        fits
    }
}

impl Shares {
    pub(crate) fn new(most: Share) -> Self {
        let hosts = Mutex::new(Hosts {
            swept: Instant::now(),
            taken: HashMap::new(),
        });
        Self { most, hosts }
    }

    /// Takes one report of so many bytes, or nothing.
    pub(crate) fn take(&self, host: &str, bytes: usize, now: Instant) -> bool {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let Hosts { swept, taken } = &mut *hosts;
        if now.saturating_duration_since(*swept) >= SWEEP {
            *swept = now;
            taken.retain(|_, taken| {
                taken.settle(&self.most, now);
                taken.reports > 0 || taken.bytes > 0
            });
        }
        let Some(known) = taken.get_mut(host) else {
            let mut new = Taken {
                reports: 0,
                bytes: 0,
                at: now,
            };
            let fits = new.take(&self.most, bytes);
            taken.insert(host.into(), new);
            return fits;
        };
        known.settle(&self.most, now);
        known.take(&self.most, bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Share, Shares};

    #[test]
    fn a_host_has_its_share_whatever_another_takes_and_it_comes_back() {
        let shares = Shares::new(Share {
            reports: 3,
            bytes: 100,
            bytes_a_second: 10,
        });
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let take = |host, bytes| shares.take(host, bytes, start);
        assert!(take("a", 10));
        assert!(!take("a", 91), "too many bytes");
        assert!(take("a", 90) && take("a", 0));
        assert!(!take("a", 0), "too many reports");
        assert!(take("b", 100), "another host's share");
        assert!(!take("b", 1));

        assert!(!shares.take("a", 0, after(333)));
        assert!(shares.take("a", 0, after(334)));
        assert!(!shares.take("a", 11, after(1_000)), "ten bytes in a second");
        assert!(shares.take("a", 10, after(1_000)));

        assert!(shares.take("c", 0, after(12_000)));
        let known = shares.hosts.lock().expect("nobody panicked").taken.len();
        assert_eq!(known, 1, "who has all of it again is forgotten");
    }
}
