//! Results that are told until the controller has recorded them, and kept until no late copy of their
//! command can come.

use std::collections::BTreeMap;

use scuttle_schemas::agents::{ResultRecorded, TeardownResult};
use scuttle_schemas::truncate_chars;
use scuttle_schemas::{OperationId, Text, Timestamp};

use super::{Effect, Machine, Note, Now, Step, Unanswered};
use crate::ledger::{Entry, Finished};

/// The most results that wait for their answer at the same time: enough to hide the way to the controller and
/// back, few enough not to flood it when an agent returns with many.
const MAX_IN_FLIGHT: usize = 4;
/// How long an answer may take, in milliseconds.
const ANSWER_MS: u64 = 3_000;
/// The first and the longest wait before a result is told again, in milliseconds.
const FIRST_WAIT_MS: u64 = 500;
const LONGEST_WAIT_MS: u64 = 30_000;
/// How long past its deadline a recorded operation is kept, in milliseconds.
const KEPT_MS: i64 = 120_000;
/// The largest result, in bytes: well below the payload that a NATS server takes (1 MiB unless it is told otherwise).
const MAX_BYTES: usize = 512 * 1024;

/// The operations that ended.
#[derive(Debug, Default)]
pub(super) struct Results {
    finished: BTreeMap<OperationId, Kept>,
    open: BTreeMap<OperationId, Delivery>,
}

#[derive(Debug)]
struct Kept {
    finished: Finished,
    /// The controller has said `recorded`, and so says the ledger.
    recorded: bool,
}

/// How far the telling of one result is.
#[derive(Debug, Clone, Copy)]
struct Delivery {
    attempts: u32,
    /// When it is told again, or, in flight, when its answer is given up.
    due: u64,
    in_flight: bool,
}

impl Delivery {
    fn at_once(now: Now) -> Self {
        Self {
            attempts: 0,
            due: now.monotonic_ms,
            in_flight: false,
        }
    }
}

impl Results {
    /// From the ledger, at start.
    pub(super) fn restore(&mut self, finished: Finished, now: Now) {
        self.add(finished, now);
    }

    /// From the ledger, at start.
    pub(super) fn restore_recorded(&mut self, operation_id: OperationId) {
        self.open.remove(&operation_id);
        if let Some(kept) = self.finished.get_mut(&operation_id) {
            kept.recorded = true;
        }
    }

    /// A new one, to be told at once.
    pub(super) fn add(&mut self, finished: Finished, now: Now) {
        let operation_id = finished.result.operation_id;
        self.finished.insert(
            operation_id,
            Kept {
                finished,
                recorded: false,
            },
        );
        self.open.insert(operation_id, Delivery::at_once(now));
    }

    pub(super) fn has(&self, operation_id: OperationId) -> bool {
        self.finished.contains_key(&operation_id)
    }

    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Its command came again, so its result did not arrive. (One in flight is on its way.)
    pub(super) fn tell_again(&mut self, operation_id: OperationId, now: Now) {
        let delivery = self
            .open
            .entry(operation_id)
            .or_insert(Delivery::at_once(now));
        if !delivery.in_flight {
            delivery.due = now.monotonic_ms;
        }
    }

    /// The connection, or the controller, has come or gone: waits and answers from before mean nothing.
    pub(super) fn all_due(&mut self, now: Now) {
        for delivery in self.open.values_mut() {
            *delivery = Delivery::at_once(now);
        }
    }

    /// Drops those whose command can come no more.
    pub(super) fn sweep(&mut self, now: Timestamp) {
        let open = &self.open;
        self.finished.retain(|id, kept| {
            !kept.recorded
                || open.contains_key(id)
                || now.millis_since(kept.finished.not_after) <= KEPT_MS
        });
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        let room = self.in_flight() < MAX_IN_FLIGHT;
        self.open
            .values()
            .filter(|delivery| delivery.in_flight || room)
            .map(|delivery| delivery.due)
            .min()
    }

    fn in_flight(&self) -> usize {
        self.open
            .values()
            .filter(|delivery| delivery.in_flight)
            .count()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.finished.iter().flat_map(|(id, kept)| {
            let recorded = kept
                .recorded
                .then_some(Entry::Recorded { operation_id: *id });
            std::iter::once(Entry::Finished(kept.finished.clone())).chain(recorded)
        })
    }
}

impl Machine {
    pub(super) fn send_due_results(&mut self, now: Now, step: &mut Step) {
        let Results { finished, open } = &mut self.results;
        let due = |delivery: &Delivery| delivery.due <= now.monotonic_ms;
        let mut in_flight = 0;
        for delivery in open.values_mut().filter(|delivery| delivery.in_flight) {
            if due(delivery) {
                delivery.wait(now, &mut self.jitter);
            } else {
                in_flight += 1;
            }
        }
        for (id, delivery) in open.iter_mut() {
            if in_flight == MAX_IN_FLIGHT {
                return;
            }
            if let (false, true, Some(kept)) = (delivery.in_flight, due(delivery), finished.get(id))
            {
                in_flight += 1;
                *delivery = Delivery {
                    attempts: delivery.attempts.saturating_add(1),
                    due: now.monotonic_ms.saturating_add(ANSWER_MS),
                    in_flight: true,
                };
                step.effects.push(Effect::RequestResult {
                    message: kept.finished.result.clone(),
                    traceparent: kept.finished.traceparent.clone(),
                });
            }
        }
    }

    pub(super) fn result_answered(
        &mut self,
        now: Now,
        operation_id: OperationId,
        answer: Result<ResultRecorded, Unanswered>,
        step: &mut Step,
    ) {
        let Some(delivery) = self.results.open.get_mut(&operation_id) else {
            return;
        };
        match answer {
            Ok(ResultRecorded {
                recorded: true,
                detail,
            }) => {
                self.results.open.remove(&operation_id);
                if let Some(kept) = self.results.finished.get_mut(&operation_id)
                    && !kept.recorded
                {
                    kept.recorded = true;
                    step.writes.push(Entry::Recorded { operation_id });
                    step.note(Note::ResultRecorded {
                        operation_id,
                        detail,
                    });
                }
            }
            Ok(_) | Err(Unanswered::NoResponders | Unanswered::Unreadable) => {
                delivery.wait(now, &mut self.jitter);
            }
            Err(Unanswered::Refused(refusal)) => {
                if delivery.attempts == 1 {
                    step.note(Note::ResultRefused {
                        operation_id,
                        refusal: refusal.clone(),
                    });
                }
                delivery.wait(now, &mut self.jitter);
                if let Some(least) = refusal.retry_after_ms {
                    let least = now.monotonic_ms.saturating_add(least.min(LONGEST_WAIT_MS));
                    delivery.due = delivery.due.max(least);
                }
            }
        }
    }
}

impl Delivery {
    fn wait(&mut self, now: Now, jitter: &mut super::Jitter) {
        let wait = jitter.backoff(self.attempts, FIRST_WAIT_MS, LONGEST_WAIT_MS);
        self.due = now.monotonic_ms.saturating_add(wait);
        self.in_flight = false;
    }
}

/// The result, its errors cut as far as it takes to send it: a result that no server takes would never be
/// recorded.
pub(super) fn fit(mut result: TeardownResult) -> TeardownResult {
    for characters in [128, 32, 8, 0] {
        let bytes = serde_json::to_vec(&result).map_or(0, |text| text.len());
        if bytes <= MAX_BYTES {
            break;
        }
        for shard in &mut result.shards {
            shard.error = shard
                .error
                .as_ref()
                .map(|error| Text::from(truncate_chars(error.as_str(), characters).as_ref()))
                .filter(|error| !error.as_str().is_empty());
        }
    }
    result
}
