//! The operators: teardowns of deckies and hosts, repeats, retries of what failed, cancellations; the seed decides which.
//!
//! A request that is not answered is sent again, with the same key and body, until it is.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_nats::HeaderMap;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use scuttle_schemas::operations::{CancelAccepted, OperationState};
use scuttle_schemas::shards::ShardsList;
use scuttle_schemas::teardown::TeardownAccepted;
use scuttle_schemas::{DeckyId, ErrorCode, HostId, PartitionCount, headers, subjects};
use scuttle_tests::{Client, RequestError};
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use crate::book::{Answer, Ask, Book};
use crate::service::Service;
use crate::stage::DECKIES;
use crate::tally::Tally;
use crate::trouble::Trouble;

/// How many operators ask at the same time: every second one on the faulty network.
pub(crate) const OPERATORS: u64 = 12;
/// Between two requests of one operator.
const PACE_MS: std::ops::RangeInclusive<u64> = 100..=700;
/// Before a request is sent again when nobody answered.
const AGAIN: Duration = Duration::from_millis(200);
/// For how long one request is sent again: longer than any chain of faults.
const PATIENCE: Duration = Duration::from_secs(90);

/// One operator.
pub(crate) struct Operator {
    book: Arc<Book>,
    tally: Arc<Tally>,
    service: Arc<Service>,
    client: Client,
    hosts: Vec<HostId>,
    partitions: PartitionCount,
    dice: StdRng,
    number: u64,
    asked: u64,
}

impl Operator {
    /// An operator; the odd ones are on the faulty network.
    pub(crate) async fn new(
        Trouble {
            stage,
            tally,
            service,
            ..
        }: &Trouble,
        book: &Arc<Book>,
        seed: u64,
        number: u64,
    ) -> Result<Self> {
        let client = if number % 2 == 1 {
            stage.operator_on_the_road().await?
        } else {
            stage.operator().await?
        };
        Ok(Self {
            client,
            hosts: stage.hosts().into_iter().map(|(host, _)| host).collect(),
            partitions: stage.size.partitions,
            book: book.clone(),
            tally: tally.clone(),
            service: service.clone(),
            // Not the seed of the faults, nor of another operator.
            dice: StdRng::seed_from_u64(seed ^ ((number + 1) << 48)),
            number,
            asked: 0,
        })
    }

    /// Asks for this and that until `end`; ends when its last request is answered.
    pub(crate) async fn work(mut self, end: Instant) {
        let mut next = Instant::now();
        loop {
            next =
                next.max(Instant::now()) + Duration::from_millis(self.dice.random_range(PACE_MS));
            sleep_until(next).await;
            if next >= end {
                return;
            }
            match self.dice.random_range(0..100) {
                0..60 => self.tear_down_a_decky().await,
                60..66 => self.tear_down_a_host().await,
                66..74 => self.ask_for_the_same().await,
                74..80 => self.repeat_a_key().await,
                80..90 => self.retry_a_failed_one().await,
                _ => self.cancel().await,
            }
        }
    }

    async fn tear_down_a_decky(&mut self) {
        let host = self.host();
        let number = self.dice.random_range(1..=DECKIES);
        let decky = format!("decky-{number:02}").parse().ok();
        let ask = self.ask(host, decky);
        self.settle(ask).await;
    }

    async fn tear_down_a_host(&mut self) {
        let host = self.host();
        let ask = self.ask(host, None);
        self.settle(ask).await;
    }

    /// A new request for the target of an earlier one, which may still be open.
    async fn ask_for_the_same(&mut self) {
        let number = self.dice.random_range(0..1000);
        if let Some((earlier, _)) = self.book.recent(number) {
            let ask = self.ask(earlier.host, earlier.decky);
            self.settle(ask).await;
        }
    }

    /// An earlier request once more, under its key: the answer must be the same.
    async fn repeat_a_key(&mut self) {
        let number = self.dice.random_range(0..1000);
        let Some((mut ask, was)) = self.book.recent(number) else {
            return;
        };
        let differs = self.dice.random_bool(0.2);
        if differs {
            ask.timeout_s += 1;
        }
        self.tally.count("keys repeated");
        match (self.send(&ask).await, differs) {
            (Answer::Accepted(now), false) if now.operation_id != was.operation_id => {
                self.book.lose(format!(
                    "the key {} was answered with operation {}, then with {}",
                    ask.key, was.operation_id, now.operation_id
                ));
            }
            (Answer::Accepted(now), true) => self.book.lose(format!(
                "the key {} was accepted with another body: {now:?}",
                ask.key
            )),
            (Answer::Refused(code), false) => self.book.lose(format!(
                "the key {} was accepted, then refused with {code:?}",
                ask.key
            )),
            (Answer::Refused(code), true) if code != ErrorCode::IdempotencyConflict => {
                self.book.lose(format!(
                    "the key {} with another body was refused with {code:?}",
                    ask.key
                ));
            }
            _ => {}
        }
    }

    async fn retry_a_failed_one(&mut self) {
        let request = json!({ "state": "teardown_failed", "limit": 1000 });
        let listed: Result<ShardsList, RequestError> =
            self.client.request(subjects::SHARDS_LIST, &request).await;
        let Ok(listed) = listed else {
            self.tally.count("lists unanswered");
            return;
        };
        let number = self.dice.random_range(0..1000_usize);
        if let Some(index) = number.checked_rem(listed.shards.len()) {
            let shard = &listed.shards[index];
            self.tally.count("retries");
            let ask = self.ask(shard.host_uuid.clone(), Some(shard.decky_id.clone()));
            self.settle(ask).await;
        }
    }

    async fn cancel(&mut self) {
        let number = self.dice.random_range(0..6);
        let Some((ask, accepted)) = self.book.recent(number) else {
            return;
        };
        let operation = accepted.operation_id;
        let request = json!({ "operation_id": operation });
        let answer: Result<CancelAccepted, RequestError> = self
            .client
            .request(subjects::OPERATIONS_CANCEL, &request)
            .await;
        match answer {
            Ok(cancelled) => {
                self.tally.count("cancelled");
                self.book.note_cancelled(operation);
                if cancelled.operation.state != OperationState::Cancelled {
                    self.book
                        .lose(format!("a cancelled operation is not: {cancelled:?}"));
                }
            }
            Err(RequestError::Rejected(refused)) if refused.code == ErrorCode::NotCancellable => {
                self.tally.count("not cancellable");
            }
            Err(RequestError::Rejected(refused)) if passing(refused.code) => {}
            Err(RequestError::NoReply(_)) => self.tally.count("requests unanswered"),
            Err(other) => self.book.lose(format!(
                "cancelling operation {operation} of {}, which was accepted: {other}",
                ask.key
            )),
        }
    }

    fn host(&mut self) -> HostId {
        let number = self.dice.random_range(0..self.hosts.len());
        self.hosts[number].clone()
    }

    fn ask(&mut self, host: HostId, decky: Option<DeckyId>) -> Ask {
        self.asked += 1;
        Ask {
            key: format!("operator-{}-request-{}", self.number, self.asked),
            host,
            decky,
            timeout_s: self.dice.random_range(20..=50),
        }
    }

    /// Sends it until it is answered, and notes what was said.
    async fn settle(&mut self, ask: Ask) {
        self.tally.count("requests");
        let answer = self.send(&ask).await;
        match &answer {
            Answer::Accepted(accepted) if accepted.repeated => self.tally.count("repeated"),
            Answer::Accepted(_) => self.tally.count("accepted"),
            Answer::Refused(ErrorCode::ShardNotFound) => self.tally.count("shard not found"),
            Answer::Refused(code) => self.book.lose(format!("{ask:?} was refused: {code:?}")),
            Answer::Nothing => self
                .book
                .lose(format!("{ask:?} had no answer within {PATIENCE:?}")),
        }
        self.book.note(ask, answer);
    }

    async fn send(&self, ask: &Ask) -> Answer {
        let Ask {
            key,
            host,
            decky,
            timeout_s,
        } = ask;
        let request = json!({
            "host_uuid": host, "decky_id": decky, "timeout_s": timeout_s, "reason": key,
        });
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let mut map = HeaderMap::new();
            map.insert(headers::MSG_ID, key.as_str());
            let sent = Instant::now();
            let asked: Result<TeardownAccepted, RequestError> = self
                .client
                .request_with_headers(subjects::TEARDOWN, map, &request)
                .await;
            match asked {
                Ok(accepted) => {
                    self.service
                        .accepted(self.partitions.partition_of_host(host), sent);
                    return Answer::Accepted(Box::new(accepted));
                }
                Err(RequestError::Rejected(refused)) if !passing(refused.code) => {
                    return Answer::Refused(refused.code);
                }
                Err(RequestError::Rejected(_)) => self.tally.count("asked to wait"),
                Err(RequestError::NoReply(_)) => self.tally.count("requests unanswered"),
                Err(RequestError::InvalidReply(error)) => self
                    .book
                    .lose(format!("{key}: an answer against the protocol: {error:#}")),
            }
            sleep_until(Instant::now() + AGAIN).await;
        }
        Answer::Nothing
    }
}

/// Refusals that say: ask again.
pub(crate) fn passing(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Overloaded
            | ErrorCode::StorageFailed
            | ErrorCode::ShuttingDown
            | ErrorCode::NotLeader
    )
}
