//! How long nobody answers when a leader is killed: clients ask all the time, at each server, for a host of each partition and for
//! a list, and the operators' acceptances are noted as well.

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

use crate::stage::Stage;

/// How long an answer may take: a request that a dead leader has read is never answered.
const ANSWER: Duration = Duration::from_millis(250);
/// Between two questions of one client, of each kind; with several partitions, which all hear them, so many times as long.
const PACE: Duration = Duration::from_millis(25);

/// An answer: when it was asked for, and when it came.
#[derive(Debug, Clone, Copy)]
struct Answered {
    asked: Instant,
    came: Instant,
    /// By whose leader; none for a list, which takes all of them.
    partition: Option<Partition>,
}

/// A kill of a partition's leader: when it was ordered, and when there was nothing left of it.
#[derive(Debug, Clone, Copy)]
struct Kill {
    partition: Partition,
    ordered: Instant,
    gone: Instant,
}

#[derive(Debug, Default)]
struct Noted {
    kills: Vec<Kill>,
    answers: Vec<Answered>,
    acceptances: Vec<Answered>,
}

/// What was noted.
#[derive(Debug, Default)]
pub(crate) struct Service(Mutex<Noted>);

/// Those who ask, until they are dropped.
pub(crate) struct Probes(Vec<JoinHandle<()>>);

impl Drop for Probes {
    fn drop(&mut self) {
        for probe in &self.0 {
            probe.abort();
        }
    }
}

impl Service {
    /// Asks from now on.
    pub(crate) async fn probe(self: &Arc<Self>, stage: &Stage) -> Result<Probes> {
        let of = stage.size.partitions;
        let mut probes = Vec::new();
        for server in stage.direct().split(',') {
            let client = Client::connect_with(stage.options(Role::Operator), server).await?;
            let kinds = of.iter().map(Some).chain([None]);
            probes.extend(
                kinds.map(|kind| tokio::spawn(ask(client.nats().clone(), kind, of, self.clone()))),
            );
        }
        Ok(Probes(probes))
    }

    /// This partition's leader was killed: ordered then, and gone now.
    pub(crate) fn killed(&self, partition: Partition, ordered: Instant) {
        let gone = Instant::now();
        lock(&self.0).kills.push(Kill {
            partition,
            ordered,
            gone,
        });
    }

    /// A teardown on a host of this partition that was asked for then is accepted now.
    pub(crate) fn accepted(&self, partition: Partition, asked: Instant) {
        let came = Instant::now();
        lock(&self.0).acceptances.push(Answered {
            asked,
            came,
            partition: Some(partition),
        });
    }

    /// For each kill of a partition's leader how long it was to the next one's first answer, sorted.
    pub(crate) fn to_answers(&self) -> Vec<Duration> {
        let noted = lock(&self.0);
        without(&noted.kills, &noted.answers, Some)
    }

    /// The same to the first list.
    pub(crate) fn to_lists(&self) -> Vec<Duration> {
        let noted = lock(&self.0);
        without(&noted.kills, &noted.answers, |_| None)
    }

    /// The same to the first acceptance; the operators do not ask all the time.
    pub(crate) fn to_acceptances(&self) -> Vec<Duration> {
        let noted = lock(&self.0);
        without(&noted.kills, &noted.acceptances, Some)
    }
}

/// Asks for a list, or for what would be torn down on a host of this partition, which is not there: both change nothing.
async fn ask(
    client: async_nats::Client,
    of: Option<Partition>,
    all: PartitionCount,
    service: Arc<Service>,
) {
    let (subject, question) = match of {
        Some(partition) => {
            let host = nowhere(partition, all);
            (
                subjects::TEARDOWN,
                json!({ "host_uuid": host, "dry_run": true }),
            )
        }
        None => (subjects::HOSTS_LIST, json!({ "limit": 1 })),
    };
    let question = question.to_string();
    let request = || {
        let payload = question.clone().into();
        Request::new().payload(payload).timeout(Some(ANSWER))
    };
    let is_answer = |answer: &async_nats::Message| match of {
        Some(_) => matches!(
            parse_reply::<Value>(answer),
            Err(RequestError::Rejected(why)) if why.code == ErrorCode::HostNotFound
        ),
        None => parse_reply::<HostsList>(answer).is_ok(),
    };
    let mut pace = interval(PACE * u32::try_from(all.count()).unwrap_or(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let asked = Instant::now();
        let answer = client.send_request(subject, request()).await;
        if answer.is_ok_and(|answer| is_answer(&answer)) {
            let came = Instant::now();
            lock(&service.0).answers.push(Answered {
                asked,
                came,
                partition: of,
            });
        }
    }
}

/// A host of this partition that is not there.
fn nowhere(partition: Partition, of: PartitionCount) -> Option<HostId> {
    let mut hosts = (0..).filter_map(|number| format!("nowhere-{number}").parse().ok());
    hosts.find(|host| of.partition_of_host(host) == partition)
}

/// What was asked for when there was nothing left of the old leader, the next one has answered: those of `whom` for its partition.
fn without(
    kills: &[Kill],
    answers: &[Answered],
    whom: fn(Partition) -> Option<Partition>,
) -> Vec<Duration> {
    let first = |kill: &Kill| {
        let by_next = answers
            .iter()
            .filter(|answer| answer.asked >= kill.gone && answer.partition == whom(kill.partition));
        Some(by_next.map(|answer| answer.came).min()? - kill.ordered)
    };
    let mut without: Vec<_> = kills.iter().filter_map(first).collect();
    without.sort();
    without
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use scuttle_schemas::{Partition, PartitionCount};
    use tokio::time::Instant;

    use super::{Answered, Kill, without};

    #[test]
    fn what_the_dead_leader_answered_does_not_count() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let other = PartitionCount::new(2).and_then(|of| of.iter().last());
        let answer = |(asked, came, partition)| Answered {
            asked: at(asked),
            came: at(came),
            partition,
        };
        let first = Some(Partition::FIRST);
        let answers = [
            (0, 10, first),
            (99, 101, first),
            (101, 110, other),
            (101, 2_400, first),
            (102, 2_300, first),
            (102, 2_500, None),
            (9_000, 9_001, first),
        ];
        let kill = |ordered, gone| Kill {
            partition: Partition::FIRST,
            ordered: at(ordered),
            gone: at(gone),
        };
        let kills = [kill(5_000, 5_001), kill(95, 100), kill(9_500, 9_501)];
        let answers = answers.map(answer);
        let found = without(&kills, &answers, Some);
        assert_eq!(found, [2_205, 4_001].map(Duration::from_millis));
        let lists = without(&kills, &answers, |_| None);
        assert_eq!(lists, [2_405].map(Duration::from_millis));
    }
}
