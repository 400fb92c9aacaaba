//! The log of the operators' teardown requests and cancels, with the replies. The audit checks that
//! the controller kept the promises in the replies.

use std::collections::BTreeSet;
use std::sync::Mutex;

use scuttle_schemas::teardown::TeardownAccepted;
use scuttle_schemas::{DeckyId, ErrorCode, HostId, OperationId};
use scuttle_tests::wait::lock;

/// A teardown request. Its key and body stay the same each time that it is resent.
#[derive(Debug, Clone)]
pub(crate) struct TeardownRequest {
    /// The idempotency key. It is also sent as the `reason`, so that the audit can find the
    /// operation.
    pub(crate) key: String,
    pub(crate) host: HostId,
    pub(crate) decky: Option<DeckyId>,
    pub(crate) timeout_s: u32,
}

/// The final outcome of a request.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Accepted(Box<TeardownAccepted>),
    Rejected(ErrorCode),
    /// No attempt was accepted or rejected permanently before the timeout.
    NoReply,
}

#[derive(Debug, Default)]
struct Entries {
    requests: Vec<(TeardownRequest, Outcome)>,
    cancelled: BTreeSet<OperationId>,
    losses: Vec<String>,
}

/// The requests of all operators with their outcomes, the accepted cancels, and the losses.
#[derive(Debug, Default)]
pub(crate) struct RequestLog(Mutex<Entries>);

impl RequestLog {
    /// Logs the outcome of a request.
    pub(crate) fn note(&self, request: TeardownRequest, outcome: Outcome) {
        lock(&self.0).requests.push((request, outcome));
    }

    /// Logs an accepted cancel.
    pub(crate) fn note_cancelled(&self, operation: OperationId) {
        lock(&self.0).cancelled.insert(operation);
    }

    /// Logs a violated guarantee that an operator observed.
    pub(crate) fn report_loss(&self, loss: String) {
        lock(&self.0).losses.push(loss);
    }

    /// Returns one of the latest accepted requests with its reply, or `None` if no request was
    /// accepted. `number` selects the request: 0 is the newest, and large numbers wrap around.
    pub(crate) fn recent(&self, number: usize) -> Option<(TeardownRequest, TeardownAccepted)> {
        const MAX_RECENT: usize = 30;
        let entries = lock(&self.0);
        let accepted = entries
            .requests
            .iter()
            .rev()
            .filter_map(|(request, outcome)| {
                if let Outcome::Accepted(accepted) = outcome {
                    Some((request, accepted))
                } else {
                    None
                }
            });
        let latest: Vec<_> = accepted.take(MAX_RECENT).collect();
        let (request, accepted) = latest.get(number.checked_rem(latest.len())?)?;
        Some(((*request).clone(), (**accepted).as_ref().clone()))
    }

    /// Returns all requests with their outcomes, the cancelled operations, and the losses so far.
    pub(crate) fn read(
        &self,
    ) -> (
        Vec<(TeardownRequest, Outcome)>,
        BTreeSet<OperationId>,
        Vec<String>,
    ) {
        let entries = lock(&self.0);
        (
            entries.requests.clone(),
            entries.cancelled.clone(),
            entries.losses.clone(),
        )
    }
}
