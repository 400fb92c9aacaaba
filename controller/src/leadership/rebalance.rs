//! How many partitions each of several controllers leads: as many as the others, as far as that goes. Each says in the bucket of
//! leases that it is there, and how many it leads; who leads two more than another gives one back. None of it decides who leads
//! (`lease`): what is told here late, or wrong, makes a controller lead more or fewer than it should.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::kv::{Operation, Store};
use futures_util::StreamExt;
use scuttle_schemas::{Partition, PartitionCount, subjects};
use tokio::sync::Notify;
use tracing::{debug, info};
use uuid::Uuid;

use crate::leadership::lease::LeaseBucket;
use crate::leadership::term::Shutdown;

/// How often a controller says that it is there, in the time that what it says counts.
const RENEWALS: u32 = 4;

/// For how long one must lead too many before it gives one back, in the times that what is said counts: controllers that start
/// together find their places first.
const STEADY: u32 = 2;

/// How often it is looked whether there are too many.
const LOOK: Duration = Duration::from_millis(250);

/// What is known of who leads how many.
#[derive(Debug, Clone)]
pub struct Rebalancer(Arc<Known>);

#[derive(Debug)]
struct Known {
    of: PartitionCount,
    /// How long what is said counts.
    ttl: Duration,
    own: Mutex<Own>,
    changed: Notify,
    /// How many each other controller leads, and until when that counts.
    others: Mutex<BTreeMap<String, (usize, Instant)>>,
}

/// What this controller does.
#[derive(Debug, Default)]
struct Own {
    /// The partitions whose record it has read.
    ready: BTreeSet<Partition>,
    led: BTreeSet<Partition>,
}

impl Rebalancer {
    /// Of a controller that starts.
    pub fn new(of: PartitionCount, ttl: Duration) -> Self {
        Self(Arc::new(Known {
            of,
            ttl,
            own: Mutex::default(),
            changed: Notify::new(),
            others: Mutex::default(),
        }))
    }

    fn own(&self) -> MutexGuard<'_, Own> {
        self.0.own.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Own)) {
        change(&mut self.own());
        self.0.changed.notify_one();
    }

    /// It reads this partition's record.
    pub fn loads(&self, partition: Partition) {
        self.change(|own| {
            own.ready.remove(&partition);
            own.led.remove(&partition);
        });
    }

    /// It would take this partition over.
    pub fn follows(&self, partition: Partition) {
        self.change(|own| {
            own.ready.insert(partition);
        });
    }

    /// It leads this partition.
    pub fn leads(&self, partition: Partition) {
        self.change(|own| {
            own.led.insert(partition);
        });
    }

    /// The fewest that another controller leads that would lead more.
    fn fewest(&self) -> Option<usize> {
        let now = Instant::now();
        let mut others = self.0.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.retain(|_, (_, until)| *until > now);
        others.values().map(|(led, _)| *led).min()
    }

    /// Whether another should have the first try at what nobody leads.
    pub fn defers(&self) -> bool {
        let led = self.own().led.len();
        self.fewest().is_some_and(|fewest| fewest < led)
    }

    /// Returns when this partition is to be given back: it leads two more than another, for a while already.
    pub async fn is_too_many(&self, partition: Partition) {
        let mut since = None;
        loop {
            let (led, last) = {
                let own = self.own();
                (own.led.len(), own.led.last() == Some(&partition))
            };
            // One at a time.
            let too_many = last && self.fewest().is_some_and(|fewest| fewest + 2 <= led);
            if !too_many {
                since = None;
            } else if since.get_or_insert_with(Instant::now).elapsed() >= self.0.ttl * STEADY {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Says that it is there, and hears who else is, until the shutdown begins. Without it nobody else is known of: nothing is left
    /// to anybody, and nothing given back.
    pub async fn run(self, client: Client, replicas: usize, mut shutdown: Shutdown) {
        let key = format!("{}{}", subjects::PRESENCE_KEY_PREFIX, Uuid::now_v7());
        let (bucket, ttl) = (subjects::LEASES_BUCKET, self.0.ttl);
        let bucket = loop {
            let opened = LeaseBucket::open(client.clone(), bucket, replicas, ttl).await;
            if let Ok(leases) = opened {
                break leases.bucket().clone();
            }
            tokio::select! {
                () = tokio::time::sleep(ttl) => {}
                () = shutdown.begun() => return,
            }
        };
        tokio::select! {
            () = self.say(&bucket, &key) => {}
            () = self.hear(&bucket, &key) => {}
            () = shutdown.begun() => {}
        }
        // What it leads is free in a moment, and nobody is to wait for it.
        let _ = tokio::time::timeout(self.0.ttl, bucket.delete(&key)).await;
    }

    async fn say(&self, bucket: &Store, key: &str) {
        loop {
            let led = {
                let own = self.own();
                (own.ready.len() == self.0.of.count()).then_some(own.led.len())
            };
            let said = match led {
                Some(led) => bucket.put(key, led.to_string().into()).await.map(drop),
                None => Ok(()),
            };
            if let Err(error) = said {
                debug!("cannot say that this controller is there: {error}");
            }
            let pause = tokio::time::sleep(self.0.ttl / RENEWALS);
            tokio::select! {
                () = pause => {}
                () = self.0.changed.notified() => {}
            }
        }
    }

    async fn hear(&self, bucket: &Store, own: &str) {
        loop {
            let watched = bucket
                .watch(format!("{}>", subjects::PRESENCE_KEY_PREFIX))
                .await;
            match watched {
                Ok(mut entries) => {
                    while let Some(Ok(entry)) = entries.next().await {
                        if entry.key != own {
                            self.heard(entry.key, entry.operation, &entry.value);
                        }
                    }
                }
                Err(error) => debug!("cannot hear who else is there: {error}"),
            }
            tokio::time::sleep(self.0.ttl / RENEWALS).await;
        }
    }

    fn heard(&self, key: String, operation: Operation, value: &[u8]) {
        let led = std::str::from_utf8(value).ok();
        let led = led.and_then(|text| text.parse().ok());
        let led = led.filter(|_| operation == Operation::Put);
        let mut others = self.0.others.lock().unwrap_or_else(PoisonError::into_inner);
        match led {
            Some(led) => {
                let until = Instant::now() + self.0.ttl;
                if others.insert(key, (led, until)).is_none() {
                    info!(
                        "another controller is there: {} besides this one",
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

    use super::Rebalancer;

    #[test]
    fn who_leads_more_than_another_defers_to_it() {
        let of = PartitionCount::new(4).expect("valid");
        let balance = Rebalancer::new(of, Duration::from_mins(1));
        let leads = |count| {
            for partition in of.iter().take(count) {
                balance.leads(partition);
            }
        };
        leads(2);
        assert!(!balance.defers(), "nobody else is there");
        balance.heard("controller.b".into(), Operation::Put, b"1");
        balance.heard("controller.c".into(), Operation::Put, b"3");
        assert_eq!(balance.fewest(), Some(1));
        assert!(balance.defers());
        balance.heard("controller.b".into(), Operation::Put, b"2");
        assert!(!balance.defers(), "as many as another");
        balance.heard("controller.b".into(), Operation::Delete, b"");
        assert_eq!(balance.fewest(), Some(3), "it has gone");
    }

    #[tokio::test(start_paused = true)]
    async fn two_more_than_another_are_one_too_many() {
        let of = PartitionCount::new(4).expect("valid");
        let balance = Rebalancer::new(of, Duration::ZERO);
        let all: Vec<_> = of.iter().collect();
        for partition in &all[..3] {
            balance.leads(*partition);
        }
        let known = balance.clone();
        known.0.others.lock().expect("unpoisoned").insert(
            "controller.b".into(),
            (1, Instant::now() + Duration::from_mins(1)),
        );
        let look = Duration::from_mins(1);
        let too_many = |partition| tokio::time::timeout(look, balance.is_too_many(partition));
        assert!(too_many(all[2]).await.is_ok(), "the last of three");
        assert!(too_many(all[1]).await.is_err(), "one at a time");
        balance.loads(all[2]);
        assert!(too_many(all[1]).await.is_err(), "two are not too many");
    }
}
