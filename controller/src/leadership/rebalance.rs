//! Spreads the partitions evenly across the controllers.
//!
//! In the bucket of leases, each ready controller announces how many partitions it leads. A
//! controller that leads at least two more partitions than another controller gives one back.
//! Announcements do not determine who leads; leases do (`lease`). If an announcement is late or
//! wrong, a controller merely leads more or fewer partitions than it should.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::kv::{Operation, Store};
use futures_util::StreamExt;
use scuttle_schemas::{Partition, PartitionCount, subjects};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};
use uuid::Uuid;

use crate::leadership::lease::LeaseBucket;

/// The number of times that a controller repeats its announcement during the lifetime of one
/// announcement.
const ANNOUNCEMENTS_PER_TTL: u32 = 4;

/// The minimum time for which a controller must lead too many partitions before it gives one back,
/// in announcement lifetimes. Controllers that start together acquire their leases in this time.
const SETTLE_TTLS: u32 = 2;

/// The interval at which a leader checks whether it leads too many partitions.
const POLL_INTERVAL: Duration = Duration::from_millis(250);

/// What is known about how many partitions each controller leads. Clones share their state.
#[derive(Debug, Clone)]
pub struct Rebalancer(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    partitions: PartitionCount,
    /// The lifetime of an announcement.
    ttl: Duration,
    own: Mutex<Own>,
    changed: Notify,
    /// The last announcement of each other controller, by its key in the bucket. An announcement
    /// that has expired does not count.
    others: Mutex<BTreeMap<String, Announcement>>,
}

/// The last announcement of another controller.
#[derive(Debug)]
struct Announcement {
    /// The number of partitions that the controller leads.
    led: usize,
    expires_at: Instant,
}

/// The partitions that this controller follows or leads.
#[derive(Debug, Default)]
struct Own {
    /// The partitions whose record this controller has loaded. It leads them or could take them
    /// over.
    ready: BTreeSet<Partition>,
    led: BTreeSet<Partition>,
}

impl Rebalancer {
    pub fn new(partitions: PartitionCount, ttl: Duration) -> Self {
        Self(Arc::new(Shared {
            partitions,
            ttl,
            own: Mutex::default(),
            changed: Notify::new(),
            others: Mutex::default(),
        }))
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.0.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, update: impl FnOnce(&mut Own)) {
        update(&mut self.own());
        self.0.changed.notify_one();
    }

    /// Records that this controller is loading the partition's record, and therefore does not lead
    /// the partition.
    pub fn set_loading(&self, partition: Partition) {
        self.update(|own| {
            own.ready.remove(&partition);
            own.led.remove(&partition);
        });
    }

    /// Records that this controller follows the partition and could take it over.
    pub fn set_following(&self, partition: Partition) {
        self.update(|own| {
            own.ready.insert(partition);
        });
    }

    /// Records that this controller leads the partition.
    pub fn set_leading(&self, partition: Partition) {
        self.update(|own| {
            own.led.insert(partition);
        });
    }

    /// Returns the lowest number of partitions that another ready controller leads, or `None` if no
    /// other controller is known.
    fn lowest_other_count(&self) -> Option<usize> {
        let now = Instant::now();
        let mut others = self.0.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.retain(|_, other| other.expires_at > now);
        others.values().map(|other| other.led).min()
    }

    /// Returns whether a controller that leads fewer partitions is known. If so, this controller
    /// should let that one try to acquire a free lease first.
    pub fn should_defer(&self) -> bool {
        let led = self.own().led.len();
        self.lowest_other_count().is_some_and(|lowest| lowest < led)
    }

    /// Waits until this controller should give `partition` back: until it has led at least two more
    /// partitions than some other controller for `SETTLE_TTLS` announcement lifetimes. To give back
    /// only one partition at a time, this keeps waiting unless `partition` is the highest-numbered
    /// partition that the controller leads.
    pub async fn leads_too_many(&self, partition: Partition) {
        let mut since = None;
        loop {
            let (led, last) = {
                let own = self.own();
                (own.led.len(), own.led.last() == Some(&partition))
            };
            // Only the last of its partitions, so that one is given back at a time.
            let too_many = last
                && self
                    .lowest_other_count()
                    .is_some_and(|lowest| lowest + 2 <= led);
            if !too_many {
                since = None;
            } else if since.get_or_insert_with(Instant::now).elapsed() >= self.0.ttl * SETTLE_TTLS {
                return;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Announces this controller and watches the announcements of others, until the process shuts
    /// down. Unless this is running, this controller does not learn of any others, so it neither
    /// defers to them nor gives a partition back.
    pub async fn run(self, client: Client, replicas: usize, shutdown: CancellationToken) {
        let key = format!("{}{}", subjects::PRESENCE_KEY_PREFIX, Uuid::now_v7());
        let (bucket, ttl) = (subjects::LEASES_BUCKET, self.0.ttl);
        let leases = loop {
            let opened = LeaseBucket::open(client.clone(), bucket, replicas, ttl).await;
            if let Ok(leases) = opened {
                break leases;
            }
            tokio::select! {
                () = tokio::time::sleep(ttl) => {}
                () = shutdown.cancelled() => return,
            }
        };
        let bucket = leases.bucket();
        tokio::select! {
            () = self.announce(&leases, &key) => {}
            () = self.watch_others(bucket, &key) => {}
            () = shutdown.cancelled() => {}
        }
        // Its partitions are free in a moment, and no other controller should defer to it.
        let _ = tokio::time::timeout(self.0.ttl, bucket.delete(&key)).await;
    }

    async fn announce(&self, leases: &LeaseBucket, key: &str) {
        let bucket = leases.bucket();
        loop {
            let led = {
                let own = self.own();
                (own.ready.len() == self.0.partitions.count()).then_some(own.led.len())
            };
            let announced = match led {
                Some(led) => bucket.put(key, led.to_string().into()).await.map(drop),
                None => Ok(()),
            };
            if let Err(error) = announced {
                debug!("cannot announce this controller: {error}");
                // The bucket may have been deleted. If it was not, the request changes nothing.
                let _ = leases.create_if_missing().await;
            }
            let interval = tokio::time::sleep(self.0.ttl / ANNOUNCEMENTS_PER_TTL);
            tokio::select! {
                () = interval => {}
                () = self.0.changed.notified() => {}
            }
        }
    }

    async fn watch_others(&self, bucket: &Store, own: &str) {
        loop {
            let watched = bucket
                .watch(format!("{}>", subjects::PRESENCE_KEY_PREFIX))
                .await;
            match watched {
                Ok(mut entries) => {
                    while let Some(Ok(entry)) = entries.next().await {
                        if entry.key != own {
                            self.record_announcement(entry.key, entry.operation, &entry.value);
                        }
                    }
                }
                Err(error) => debug!("cannot watch the other controllers: {error}"),
            }
            tokio::time::sleep(self.0.ttl / ANNOUNCEMENTS_PER_TTL).await;
        }
    }

    fn record_announcement(&self, key: String, operation: Operation, value: &[u8]) {
        let led = std::str::from_utf8(value).ok();
        let led = led.and_then(|text| text.parse().ok());
        let led = led.filter(|_| operation == Operation::Put);
        let mut others = self.0.others.lock().unwrap_or_else(PoisonError::into_inner);
        match led {
            Some(led) => {
                let expires_at = Instant::now() + self.0.ttl;
                let announcement = Announcement { led, expires_at };
                if others.insert(key, announcement).is_none() {
                    info!(
                        "found another controller; other controllers known: {}",
                        others.len()
                    );
                }
            }
            None => drop(others.remove(&key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use async_nats::jetstream::kv::Operation;
    use scuttle_schemas::PartitionCount;

    use super::{Announcement, Rebalancer};

    #[test]
    fn a_controller_defers_to_one_that_leads_fewer_partitions() {
        let of = PartitionCount::new(4).expect("valid");
        let rebalancer = Rebalancer::new(of, Duration::from_mins(1));
        let leads = |count| {
            for partition in of.iter().take(count) {
                rebalancer.set_leading(partition);
            }
        };
        leads(2);
        assert!(!rebalancer.should_defer(), "no other controller is known");
        rebalancer.record_announcement("controller.b".into(), Operation::Put, b"1");
        rebalancer.record_announcement("controller.c".into(), Operation::Put, b"3");
        assert_eq!(rebalancer.lowest_other_count(), Some(1));
        assert!(rebalancer.should_defer());
        rebalancer.record_announcement("controller.b".into(), Operation::Put, b"2");
        assert!(!rebalancer.should_defer(), "as many as another");
        rebalancer.record_announcement("controller.b".into(), Operation::Delete, b"");
        assert_eq!(
            rebalancer.lowest_other_count(),
            Some(3),
            "the other controller has left"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_controller_that_leads_two_more_than_another_gives_one_back() {
        let of = PartitionCount::new(4).expect("valid");
        let rebalancer = Rebalancer::new(of, Duration::ZERO);
        let all: Vec<_> = of.iter().collect();
        for partition in &all[..3] {
            rebalancer.set_leading(*partition);
        }
        let known = rebalancer.clone();
        known.0.others.lock().expect("unpoisoned").insert(
            "controller.b".into(),
            Announcement {
                led: 1,
                expires_at: Instant::now() + Duration::from_mins(1),
            },
        );
        let timeout = Duration::from_mins(1);
        let too_many =
            |partition| tokio::time::timeout(timeout, rebalancer.leads_too_many(partition));
        assert!(too_many(all[2]).await.is_ok(), "the last of three");
        assert!(too_many(all[1]).await.is_err(), "one at a time");
        rebalancer.set_loading(all[2]);
        assert!(
            too_many(all[1]).await.is_err(),
            "two partitions are not too many"
        );
    }
}
