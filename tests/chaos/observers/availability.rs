//! Measures the time from the kill of a leader to the first reply of the next leader.
//!
//! Through each server, probes continuously send requests for a host of each partition, and
//! requests for a list. The operators' accepted requests are measured as well.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use async_nats::Request;
use scuttle_schemas::hosts::HostsList;
use scuttle_schemas::{ErrorCode, HostId, Partition, PartitionCount, subjects};
use scuttle_tests::clients::client::parse_reply;
use scuttle_tests::wait::lock;
use scuttle_tests::{Client, RequestError, Role};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::cluster::processes::Processes;

/// The timeout for the reply to a probe. A request that a dead leader has read never gets a reply.
const REPLY_TIMEOUT: Duration = Duration::from_millis(250);
/// The time between two requests of a probe in a swarm with one partition. With more partitions,
/// the time is multiplied by their number, because the requests reach the leaders of all
/// partitions.
const PROBE_INTERVAL: Duration = Duration::from_millis(25);

/// The times of a request and its reply.
#[derive(Debug, Clone, Copy)]
struct TimedReply {
    sent_at: Instant,
    received_at: Instant,
    /// The partition whose leader replied, or `None` for a list, which needs the replies of all
    /// leaders.
    partition: Option<Partition>,
}

/// The kill of a partition's leader, with the times of the signal and of the process's exit.
#[derive(Debug, Clone, Copy)]
struct Kill {
    partition: Partition,
    requested_at: Instant,
    killed_at: Instant,
}

#[derive(Debug, Default)]
struct Times {
    kills: Vec<Kill>,
    replies: Vec<TimedReply>,
    acceptances: Vec<TimedReply>,
}

/// The kills of leaders and the replies to probes and operators, recorded during the run.
#[derive(Debug, Default)]
pub(crate) struct Availability(Mutex<Times>);

/// The running probes. Dropping this value stops the probes.
pub(crate) struct Probes(Vec<JoinHandle<()>>);

impl Drop for Probes {
    fn drop(&mut self) {
        for probe in &self.0 {
            probe.abort();
        }
    }
}

impl Availability {
    /// Starts the probes. Each server gets one probe per partition and one for lists, all of which
    /// send their requests through that server.
    pub(crate) async fn start_probes(self: &Arc<Self>, processes: &Processes) -> Result<Probes> {
        let of = processes.size.partitions;
        let mut probes = Vec::new();
        for server in processes.direct_urls().split(',') {
            let client =
                Client::connect_with(processes.connect_options(Role::Operator), server).await?;
            let kinds = of.iter().map(Some).chain([None]);
            probes
                .extend(kinds.map(|kind| {
                    tokio::spawn(probe(client.nats().clone(), kind, of, self.clone()))
                }));
        }
        Ok(Probes(probes))
    }

    /// Records that a partition's leader has just exited after a SIGKILL was sent at
    /// `requested_at`.
    pub(crate) fn note_kill(&self, partition: Partition, requested_at: Instant) {
        let killed_at = Instant::now();
        lock(&self.0).kills.push(Kill {
            partition,
            requested_at,
            killed_at,
        });
    }

    /// Records that a teardown in this partition has just been accepted. The request was sent at
    /// `sent_at`.
    pub(crate) fn note_acceptance(&self, partition: Partition, sent_at: Instant) {
        let received_at = Instant::now();
        lock(&self.0).acceptances.push(TimedReply {
            sent_at,
            received_at,
            partition: Some(partition),
        });
    }

    /// Returns the times from each kill of a leader to the next leader's first reply, sorted.
    pub(crate) fn times_to_reply(&self) -> Vec<Duration> {
        let times = lock(&self.0);
        downtimes(&times.kills, &times.replies, Some)
    }

    /// Returns the times from each kill of a leader to the first complete list, sorted.
    pub(crate) fn times_to_list(&self) -> Vec<Duration> {
        let times = lock(&self.0);
        downtimes(&times.kills, &times.replies, |_| None)
    }

    /// Returns the times from each kill of a leader to the next accepted teardown, sorted. Unlike
    /// the probes, the operators pause between requests.
    pub(crate) fn times_to_acceptance(&self) -> Vec<Duration> {
        let times = lock(&self.0);
        downtimes(&times.kills, &times.acceptances, Some)
    }
}

/// Continuously sends requests and records the expected replies. The requests are dry runs on a
/// missing host of the partition `of`, or lists if `of` is `None`. Neither kind changes the record.
async fn probe(
    client: async_nats::Client,
    of: Option<Partition>,
    partitions: PartitionCount,
    availability: Arc<Availability>,
) {
    let (subject, request) = match of {
        Some(partition) => {
            let host = missing_host(partition, partitions);
            (
                subjects::TEARDOWN,
                json!({ "host_uuid": host, "dry_run": true }),
            )
        }
        None => (subjects::HOSTS_LIST, json!({ "limit": 1 })),
    };
    let request = request.to_string();
    let build_request = || {
        let payload = request.clone().into();
        Request::new().payload(payload).timeout(Some(REPLY_TIMEOUT))
    };
    let is_expected = |reply: &async_nats::Message| match of {
        Some(_) => matches!(
            parse_reply::<Value>(reply),
            Err(RequestError::Rejected(error)) if error.code == ErrorCode::HostNotFound
        ),
        None => parse_reply::<HostsList>(reply).is_ok(),
    };
    let mut ticks = interval(PROBE_INTERVAL * u32::try_from(partitions.count()).unwrap_or(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let sent_at = Instant::now();
        let reply = client.send_request(subject, build_request()).await;
        if reply.is_ok_and(|reply| is_expected(&reply)) {
            let received_at = Instant::now();
            lock(&availability.0).replies.push(TimedReply {
                sent_at,
                received_at,
                partition: of,
            });
        }
    }
}

/// Returns the id of a host that would belong to this partition but does not exist.
fn missing_host(partition: Partition, of: PartitionCount) -> Option<HostId> {
    let mut hosts = (0..).filter_map(|number| format!("missing-{number}").parse().ok());
    hosts.find(|host| of.partition_of_host(host) == partition)
}

/// Returns the times from each kill to the first reply of the next leader, sorted. A kill without
/// such a reply is left out.
///
/// Ignores requests that were sent before the killed process had exited, because their replies
/// might come from the killed leader. `select` maps the partition of the killed leader to the
/// [`TimedReply::partition`] of the replies that count.
fn downtimes(
    kills: &[Kill],
    replies: &[TimedReply],
    select: fn(Partition) -> Option<Partition>,
) -> Vec<Duration> {
    let first = |kill: &Kill| {
        let by_next = replies.iter().filter(|reply| {
            reply.sent_at >= kill.killed_at && reply.partition == select(kill.partition)
        });
        Some(by_next.map(|reply| reply.received_at).min()? - kill.requested_at)
    };
    let mut downtimes: Vec<_> = kills.iter().filter_map(first).collect();
    downtimes.sort();
    downtimes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use scuttle_schemas::{Partition, PartitionCount};
    use tokio::time::Instant;

    use super::{Kill, TimedReply, downtimes};

    #[test]
    fn a_reply_of_the_killed_leader_does_not_count() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let other = PartitionCount::new(2).and_then(|of| of.iter().last());
        let reply = |(sent_at, received_at, partition)| TimedReply {
            sent_at: at(sent_at),
            received_at: at(received_at),
            partition,
        };
        let first = Some(Partition::FIRST);
        let replies = [
            (0, 10, first),
            (99, 101, first),
            (101, 110, other),
            (101, 2_400, first),
            (102, 2_300, first),
            (102, 2_500, None),
            (9_000, 9_001, first),
        ];
        let kill = |requested_at, killed_at| Kill {
            partition: Partition::FIRST,
            requested_at: at(requested_at),
            killed_at: at(killed_at),
        };
        let kills = [kill(5_000, 5_001), kill(95, 100), kill(9_500, 9_501)];
        let replies = replies.map(reply);
        let found = downtimes(&kills, &replies, Some);
        assert_eq!(found, [2_205, 4_001].map(Duration::from_millis));
        let lists = downtimes(&kills, &replies, |_| None);
        assert_eq!(lists, [2_405].map(Duration::from_millis));
    }
}
