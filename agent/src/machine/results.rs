//! Delivery of results. Each result is resent until the controller has recorded it.

use scuttle_schemas::OperationId;
use scuttle_schemas::agents::ResultRecorded;

use super::effect::{Effect, Step};
use super::event::AgentEvent;
use super::input::{Now, RequestFailure};
use super::message_sizes::{max_result_bytes, shorten_to_fit};
use super::state::Machine;
use super::state::result_deliveries::{
    Delivery, MAX_IN_FLIGHT, MAX_RETRY_DELAY_MS, ResultDeliveries,
};
use crate::ledger::Entry;

/// The timeout for the reply to a result, in milliseconds.
const REPLY_TIMEOUT_MS: u64 = 3_000;

impl Machine {
    pub(super) fn send_due_results(&mut self, now: Now, step: &mut Step) {
        let ResultDeliveries { finished, open } = &mut self.results;
        let is_due = |delivery: &Delivery| delivery.due <= now.monotonic_ms;
        let mut in_flight = 0;
        for delivery in open.values_mut().filter(|delivery| delivery.in_flight) {
            if is_due(delivery) {
                delivery.schedule_retry(now, &mut self.jitter);
            } else {
                in_flight += 1;
            }
        }
        for (id, delivery) in open.iter_mut() {
            if in_flight == MAX_IN_FLIGHT {
                return;
            }
            if let (false, true, Some(operation)) =
                (delivery.in_flight, is_due(delivery), finished.get(id))
            {
                in_flight += 1;
                *delivery = Delivery {
                    attempts: delivery.attempts.saturating_add(1),
                    due: now.monotonic_ms.saturating_add(REPLY_TIMEOUT_MS),
                    in_flight: true,
                };
                let result = operation.finished.result.clone();
                step.effects.push(Effect::RequestResult {
                    message: shorten_to_fit(result, max_result_bytes(self.max_payload)),
                    traceparent: operation.finished.traceparent.clone(),
                });
            }
        }
    }

    pub(super) fn handle_result_reply(
        &mut self,
        now: Now,
        operation_id: OperationId,
        reply: Result<ResultRecorded, RequestFailure>,
        step: &mut Step,
    ) {
        let Some(delivery) = self.results.open.get_mut(&operation_id) else {
            return;
        };
        match reply {
            Ok(ResultRecorded {
                recorded: true,
                detail,
            }) => {
                self.results.open.remove(&operation_id);
                if let Some(operation) = self.results.finished.get_mut(&operation_id)
                    && !operation.recorded
                {
                    operation.recorded = true;
                    step.writes.push(Entry::Recorded { operation_id });
                    step.emit(AgentEvent::ResultRecorded {
                        operation_id,
                        detail,
                    });
                }
            }
            Ok(_) | Err(RequestFailure::NoResponders | RequestFailure::InvalidReply) => {
                delivery.schedule_retry(now, &mut self.jitter);
            }
            Err(RequestFailure::Rejected(error)) => {
                if delivery.attempts == 1 {
                    step.emit(AgentEvent::ResultRejected {
                        operation_id,
                        error: error.clone(),
                    });
                }
                delivery.schedule_retry(now, &mut self.jitter);
                if let Some(delay) = error.retry_after_ms {
                    let earliest = now
                        .monotonic_ms
                        .saturating_add(delay.min(MAX_RETRY_DELAY_MS));
                    delivery.due = delivery.due.max(earliest);
                }
            }
        }
    }
}
