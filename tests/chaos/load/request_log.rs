//! What the operators asked for, and what they were told: the promises that the audit holds the controller to.

use std::collections::BTreeSet;
use std::sync::Mutex;

use scuttle_schemas::teardown::TeardownAccepted;
use scuttle_schemas::{DeckyId, ErrorCode, HostId, OperationId};
use scuttle_tests::wait::lock;

/// One request, which keeps its key and its body however often it is sent.
#[derive(Debug, Clone)]
pub(crate) struct TeardownRequest {
    /// The idempotency key, and the operation's reason.
    pub(crate) key: String,
    pub(crate) host: HostId,
    pub(crate) decky: Option<DeckyId>,
    pub(crate) timeout_s: u32,
}

/// How a request ended.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    Accepted(Box<TeardownAccepted>),
    Rejected(ErrorCode),
    /// Not within all tries.
    NoReply,
}

#[derive(Debug, Default)]
struct Entries {
    requests: Vec<(TeardownRequest, Outcome)>,
    cancelled: BTreeSet<OperationId>,
    losses: Vec<String>,
}

/// The request_log of all operators.
#[derive(Debug, Default)]
pub(crate) struct RequestLog(Mutex<Entries>);

impl RequestLog {
    /// A request has ended.
    pub(crate) fn note(&self, request: TeardownRequest, outcome: Outcome) {
        lock(&self.0).requests.push((request, outcome));
    }

    /// A cancellation was accepted.
    pub(crate) fn note_cancelled(&self, operation: OperationId) {
        lock(&self.0).cancelled.insert(operation);
    }

    /// A promise was broken before an operator's eyes.
    pub(crate) fn report_loss(&self, loss: String) {
        lock(&self.0).losses.push(loss);
    }

    /// One of the latest acceptances; `number` chooses.
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

    /// Every request with its end, the operations that were cancelled, and what went wrong already.
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
