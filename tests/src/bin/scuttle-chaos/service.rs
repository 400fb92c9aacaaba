//! How long nobody answers when the leader is killed: three clients ask all the time, each at another server, and the
//! operators' acceptances are noted as well.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use async_nats::Request;
use scuttle_schemas::hosts::HostsList;
use scuttle_schemas::subjects;
use scuttle_tests::client::read_answer;
use scuttle_tests::wait::lock;
use scuttle_tests::{Client, Role};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::stage::Stage;

/// How long an answer may take: a request that a dead leader has read is never answered.
const ANSWER: Duration = Duration::from_millis(250);
/// Between two questions of one client.
const PACE: Duration = Duration::from_millis(25);

/// An answer: when it was asked for, and when it came.
#[derive(Debug, Clone, Copy)]
struct Answered {
    asked: Instant,
    came: Instant,
}

/// A kill of the leader: when it was ordered, and when there was nothing left of it.
#[derive(Debug, Clone, Copy)]
struct Kill {
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
        let mut probes = Vec::new();
        for server in stage.direct().split(',') {
            let client = Client::with(stage.options(Role::Viewer), server).await?;
            probes.push(tokio::spawn(ask(client, self.clone())));
        }
        Ok(Probes(probes))
    }

    /// The leader was killed: ordered then, and gone now.
    pub(crate) fn killed(&self, ordered: Instant) {
        let gone = Instant::now();
        lock(&self.0).kills.push(Kill { ordered, gone });
    }

    /// A teardown that was asked for then is accepted now.
    pub(crate) fn accepted(&self, asked: Instant) {
        let came = Instant::now();
        lock(&self.0).acceptances.push(Answered { asked, came });
    }

    /// For each kill of the leader how long it was to the next leader's first answer of any kind, sorted.
    pub(crate) fn to_answers(&self) -> Vec<Duration> {
        let noted = lock(&self.0);
        without(&noted.kills, &noted.answers)
    }

    /// The same to the first acceptance; the operators do not ask all the time.
    pub(crate) fn to_acceptances(&self) -> Vec<Duration> {
        let noted = lock(&self.0);
        without(&noted.kills, &noted.acceptances)
    }
}

async fn ask(client: Client, service: Arc<Service>) {
    let request = || {
        Request::new()
            .payload(r#"{"limit":1}"#.into())
            .timeout(Some(ANSWER))
    };
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let asked = Instant::now();
        let answer = client
            .nats()
            .send_request(subjects::HOSTS_LIST, request())
            .await;
        if answer.is_ok_and(|answer| read_answer::<HostsList>(&answer).is_ok()) {
            let came = Instant::now();
            lock(&service.0).answers.push(Answered { asked, came });
        }
    }
}

/// What was asked for when there was nothing left of the old leader, the next one has answered.
fn without(kills: &[Kill], answers: &[Answered]) -> Vec<Duration> {
    let first = |kill: &Kill| {
        let by_next = answers.iter().filter(|answer| answer.asked >= kill.gone);
        Some(by_next.map(|answer| answer.came).min()? - kill.ordered)
    };
    let mut without: Vec<_> = kills.iter().filter_map(first).collect();
    without.sort();
    without
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Answered, Kill, without};

    #[test]
    fn what_the_dead_leader_answered_does_not_count() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let answer = |(asked, came)| Answered {
            asked: at(asked),
            came: at(came),
        };
        let answers = [
            (0, 10),
            (99, 101),
            (101, 2_400),
            (102, 2_300),
            (9_000, 9_001),
        ];
        let kill = |ordered, gone| Kill {
            ordered: at(ordered),
            gone: at(gone),
        };
        let kills = [kill(5_000, 5_001), kill(95, 100), kill(9_500, 9_501)];
        let found = without(&kills, &answers.map(answer));
        assert_eq!(found, [2_205, 4_001].map(Duration::from_millis));
    }
}
