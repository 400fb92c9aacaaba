//! The operators, which tear down deckies and hosts, repeat requests, retry failed teardowns and
//! cancel operations. The seed decides which requests they send.
//!
//! A teardown request that gets no reply or a temporary rejection is resent with the same key and
//! body, until it gets a final reply or times out.

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

use crate::cluster::scale::DECKIES;
use crate::counters::Counters;
use crate::faults::fault_injector::FaultInjector;
use crate::load::request_log::{Outcome, RequestLog, TeardownRequest};
use crate::observers::availability::Availability;

/// The number of concurrent operators. Every second operator connects through a proxy.
pub(crate) const OPERATORS: u64 = 12;
/// The random time between two requests of one operator, in milliseconds.
const REQUEST_INTERVAL_MS: std::ops::RangeInclusive<u64> = 100..=700;
/// The delay before a request without a reply, or with a temporary rejection, is resent.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// The timeout for all attempts of one request. It is much longer than any single fault.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(90);

/// A user who sends random requests.
pub(crate) struct Operator {
    request_log: Arc<RequestLog>,
    counters: Arc<Counters>,
    availability: Arc<Availability>,
    client: Client,
    hosts: Vec<HostId>,
    partitions: PartitionCount,
    rng: StdRng,
    number: u64,
    request_count: u64,
}

impl Operator {
    /// Connects an operator. Operators with odd numbers connect through a proxy.
    pub(crate) async fn new(
        FaultInjector {
            processes,
            counters,
            availability,
            ..
        }: &FaultInjector,
        request_log: &Arc<RequestLog>,
        seed: u64,
        number: u64,
    ) -> Result<Self> {
        let client = if number % 2 == 1 {
            processes.connect_operator_via_proxy().await?
        } else {
            processes.connect_operator().await?
        };
        Ok(Self {
            client,
            hosts: processes
                .hosts()
                .into_iter()
                .map(|(host, _)| host)
                .collect(),
            partitions: processes.size.partitions,
            request_log: request_log.clone(),
            counters: counters.clone(),
            availability: availability.clone(),
            // Differs from the seeds of the faults and of the other operators.
            rng: StdRng::seed_from_u64(seed ^ ((number + 1) << 48)),
            number,
            request_count: 0,
        })
    }

    /// Sends random requests until `end`. Returns after the last request has received a reply or
    /// timed out.
    pub(crate) async fn run(mut self, end: Instant) {
        let mut next = Instant::now();
        loop {
            next = next.max(Instant::now())
                + Duration::from_millis(self.rng.random_range(REQUEST_INTERVAL_MS));
            sleep_until(next).await;
            if next >= end {
                return;
            }
            match self.rng.random_range(0..100) {
                0..60 => self.tear_down_decky().await,
                60..66 => self.tear_down_host().await,
                66..74 => self.request_same_target().await,
                74..80 => self.repeat_key().await,
                80..90 => self.retry_failed_teardown().await,
                _ => self.cancel().await,
            }
        }
    }

    async fn tear_down_decky(&mut self) {
        let host = self.pick_host();
        let number = self.rng.random_range(1..=DECKIES);
        let decky = format!("decky-{number:02}").parse().ok();
        let request = self.new_request(host, decky);
        self.send_and_log(request).await;
    }

    async fn tear_down_host(&mut self) {
        let host = self.pick_host();
        let request = self.new_request(host, None);
        self.send_and_log(request).await;
    }

    /// Sends a new request for the target of an earlier request. The earlier operation may still be
    /// open.
    async fn request_same_target(&mut self) {
        let number = self.rng.random_range(0..1000);
        if let Some((earlier, _)) = self.request_log.recent(number) {
            let request = self.new_request(earlier.host, earlier.decky);
            self.send_and_log(request).await;
        }
    }

    /// Repeats an earlier request with the same key, and in some cases with a different body.
    ///
    /// Reports a loss if the same body is rejected or gets another operation, or if a different
    /// body is accepted or gets a rejection other than an idempotency conflict.
    async fn repeat_key(&mut self) {
        let number = self.rng.random_range(0..1000);
        let Some((mut request, first_reply)) = self.request_log.recent(number) else {
            return;
        };
        let differs = self.rng.random_bool(0.2);
        if differs {
            request.timeout_s += 1;
        }
        self.counters.increment("keys repeated");
        match (self.send(&request).await, differs) {
            (Outcome::Accepted(reply), false) if reply.operation_id != first_reply.operation_id => {
                self.request_log.report_loss(format!(
                    "the key {} got operation {}, then {}",
                    request.key, first_reply.operation_id, reply.operation_id
                ));
            }
            (Outcome::Accepted(reply), true) => self.request_log.report_loss(format!(
                "the key {} was accepted with another body: {reply:?}",
                request.key
            )),
            (Outcome::Rejected(code), false) => self.request_log.report_loss(format!(
                "the key {} was accepted, then rejected with {code:?}",
                request.key
            )),
            (Outcome::Rejected(code), true) if code != ErrorCode::IdempotencyConflict => {
                self.request_log.report_loss(format!(
                    "the key {} with another body was rejected with {code:?}",
                    request.key
                ));
            }
            _ => {}
        }
    }

    async fn retry_failed_teardown(&mut self) {
        let request = json!({ "state": "teardown_failed", "limit": 1000 });
        let listed: Result<ShardsList, RequestError> =
            self.client.request(subjects::SHARDS_LIST, &request).await;
        let Ok(listed) = listed else {
            self.counters.increment("lists unanswered");
            return;
        };
        let number = self.rng.random_range(0..1000_usize);
        if let Some(index) = number.checked_rem(listed.shards.len()) {
            let shard = &listed.shards[index];
            self.counters.increment("retries");
            let request = self.new_request(shard.host_uuid.clone(), Some(shard.decky_id.clone()));
            self.send_and_log(request).await;
        }
    }

    async fn cancel(&mut self) {
        let number = self.rng.random_range(0..6);
        let Some((request, accepted)) = self.request_log.recent(number) else {
            return;
        };
        let operation = accepted.operation_id;
        let body = json!({ "operation_id": operation });
        let reply: Result<CancelAccepted, RequestError> = self
            .client
            .request(subjects::OPERATIONS_CANCEL, &body)
            .await;
        match reply {
            Ok(cancelled) => {
                self.counters.increment("cancelled");
                self.request_log.note_cancelled(operation);
                if cancelled.operation.state != OperationState::Cancelled {
                    self.request_log
                        .report_loss(format!("an accepted cancel did not cancel: {cancelled:?}"));
                }
            }
            Err(RequestError::Rejected(error)) if error.code == ErrorCode::NotCancellable => {
                self.counters.increment("not cancellable");
            }
            Err(RequestError::Rejected(error)) if is_retryable(error.code) => {}
            Err(RequestError::NoReply(_)) => self.counters.increment("requests unanswered"),
            Err(other) => self.request_log.report_loss(format!(
                "the cancel of the accepted operation {operation} ({}) failed: {other}",
                request.key
            )),
        }
    }

    fn pick_host(&mut self) -> HostId {
        let number = self.rng.random_range(0..self.hosts.len());
        self.hosts[number].clone()
    }

    fn new_request(&mut self, host: HostId, decky: Option<DeckyId>) -> TeardownRequest {
        self.request_count += 1;
        TeardownRequest {
            key: format!("operator-{}-request-{}", self.number, self.request_count),
            host,
            decky,
            timeout_s: self.rng.random_range(20..=50),
        }
    }

    /// Sends a request until it gets a final reply or [`REQUEST_TIMEOUT`] passes, and logs the
    /// outcome. An unexpected rejection or a missing reply is a loss.
    async fn send_and_log(&mut self, request: TeardownRequest) {
        self.counters.increment("requests");
        let reply = self.send(&request).await;
        match &reply {
            Outcome::Accepted(accepted) if accepted.repeated => self.counters.increment("repeated"),
            Outcome::Accepted(_) => self.counters.increment("accepted"),
            Outcome::Rejected(ErrorCode::ShardNotFound) => {
                self.counters.increment("shard not found");
            }
            Outcome::Rejected(code) => self
                .request_log
                .report_loss(format!("{request:?} was rejected: {code:?}")),
            Outcome::NoReply => self.request_log.report_loss(format!(
                "{request:?} got no reply within {REQUEST_TIMEOUT:?}"
            )),
        }
        self.request_log.note(request, reply);
    }

    async fn send(&self, request: &TeardownRequest) -> Outcome {
        let TeardownRequest {
            key,
            host,
            decky,
            timeout_s,
        } = request;
        let request = json!({
            "host_uuid": host, "decky_id": decky, "timeout_s": timeout_s, "reason": key,
        });
        let started_at = Instant::now();
        while started_at.elapsed() < REQUEST_TIMEOUT {
            let mut map = HeaderMap::new();
            map.insert(headers::MSG_ID, key.as_str());
            let sent = Instant::now();
            let reply: Result<TeardownAccepted, RequestError> = self
                .client
                .request_with_headers(subjects::TEARDOWN, map, &request)
                .await;
            match reply {
                Ok(accepted) => {
                    self.availability
                        .note_acceptance(self.partitions.partition_of_host(host), sent);
                    return Outcome::Accepted(Box::new(accepted));
                }
                Err(RequestError::Rejected(error)) if !is_retryable(error.code) => {
                    return Outcome::Rejected(error.code);
                }
                Err(RequestError::Rejected(_)) => self.counters.increment("asked to wait"),
                Err(RequestError::NoReply(_)) => self.counters.increment("requests unanswered"),
                Err(RequestError::InvalidReply(error)) => self
                    .request_log
                    .report_loss(format!("{key}: invalid reply: {error:#}")),
            }
            sleep_until(Instant::now() + RETRY_DELAY).await;
        }
        Outcome::NoReply
    }
}

/// Returns whether a rejection with this code is temporary, so that the request should be resent.
pub(crate) fn is_retryable(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Overloaded
            | ErrorCode::StorageFailed
            | ErrorCode::ShuttingDown
            | ErrorCode::NotLeader
    )
}
