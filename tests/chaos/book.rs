//! What the operators asked for, and what they were told: the promises that the audit holds the controller to.

use std::collections::BTreeSet;
use std::sync::Mutex;

use scuttle_schemas::teardown::TeardownAccepted;
use scuttle_schemas::{DeckyId, ErrorCode, HostId, OperationId};
use scuttle_tests::wait::lock;

/// One request, which keeps its key and its body however often it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// The idempotency key, and the operation's reason.
    pub(crate) key: String,
    pub(crate) host: HostId,
    pub(crate) decky: Option<DeckyId>,
    pub(crate) timeout_s: u32,
}

/// How a request ended.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Accepted(Box<TeardownAccepted>),
    Refused(ErrorCode),
    /// Not within all tries.
    Nothing,
}

#[derive(Debug, Default)]
struct Pages {
    answered: Vec<(Ask, Answer)>,
    cancelled: BTreeSet<OperationId>,
    losses: Vec<String>,
}

/// The book of all operators.
#[derive(Debug, Default)]
pub(crate) struct Book(Mutex<Pages>);

impl Book {
    /// A request has ended.
    pub(crate) fn note(&self, ask: Ask, answer: Answer) {
        lock(&self.0).answered.push((ask, answer));
    }

    /// A cancellation was accepted.
    pub(crate) fn note_cancelled(&self, operation: OperationId) {
        lock(&self.0).cancelled.insert(operation);
    }

    /// A promise was broken before an operator's eyes.
    pub(crate) fn lose(&self, what: String) {
        lock(&self.0).losses.push(what);
    }

    /// One of the latest acceptances; `number` chooses.
    pub(crate) fn recent(&self, number: usize) -> Option<(Ask, TeardownAccepted)> {
        const LATEST: usize = 30;
        let pages = lock(&self.0);
        let accepted = pages.answered.iter().rev().filter_map(|(ask, answer)| {
            if let Answer::Accepted(accepted) = answer {
                Some((ask, accepted))
            } else {
                None
            }
        });
        let latest: Vec<_> = accepted.take(LATEST).collect();
        let (ask, accepted) = latest.get(number.checked_rem(latest.len())?)?;
        Some(((*ask).clone(), (**accepted).as_ref().clone()))
    }

    /// Every request with its end, the operations that were cancelled, and what went wrong already.
    pub(crate) fn read(&self) -> (Vec<(Ask, Answer)>, BTreeSet<OperationId>, Vec<String>) {
        let pages = lock(&self.0);
        (
            pages.answered.clone(),
            pages.cancelled.clone(),
            pages.losses.clone(),
        )
    }
}
