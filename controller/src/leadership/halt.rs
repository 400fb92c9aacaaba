//! The halt of a partition whose journal lacks accepted changes. The controller serves nothing
//! until an operator decides: an empty or old record would look like the whole swarm.

use scuttle_schemas::subjects;
use tokio::task::JoinHandle;
use tracing::error;
use uuid::Uuid;

use crate::leadership::candidate::Candidate;
use crate::leadership::lease::LeaseBucket;
use crate::nats::receivers::GroupSubscriptions;
use crate::outbound::replier::Replier;
use crate::request::discovery::{self, Service};
use crate::store::JournalError;

/// A halted partition. Dropping this value ends the halt.
pub(super) struct Halt {
    /// The task that reports the halt to service discovery and keeps other controllers from
    /// leading.
    task: JoinHandle<((), ())>,
    reason: String,
}

impl Halt {
    /// Halts the partition: logs the error, reports it at `/readyz`, in the metrics and to service
    /// discovery.
    ///
    /// While the partition is halted, this controller also keeps a mark among the leases if
    /// [`keeps_others_from_leading`] says so.
    pub(super) fn start(
        error: &JournalError,
        candidate: &Candidate<'_>,
        leases: &LeaseBucket,
    ) -> Self {
        let partition = candidate.stream.assignment.partition;
        let reason = error.to_string();
        let is_replaced = matches!(error, JournalError::Replaced { last, .. } if *last > 0);
        let hint = if is_replaced {
            "if the record was recovered, start this controller with an empty data directory; otherwise "
        } else {
            ""
        };
        error!(
            "halted: {reason}; nothing is served until an operator decides: {hint}stop all controllers, then run `scuttle-controller recover` on the one with the newest rows (docs/operations.md)"
        );
        candidate.health.set_halted();
        let counters = candidate.metrics.counters();
        let metadata = discovery::halted_metadata(partition, &reason);
        let service = Service::new(Uuid::now_v7(), counters.clone(), metadata);
        let mut subscriptions = GroupSubscriptions::default();
        let requests = service.subscribe(&mut subscriptions);
        let receivers = subscriptions.start(candidate.access, counters);
        let replier = Replier::new(
            candidate.stream.client.clone(),
            candidate.connected.clone(),
            candidate.audit.clone(),
            counters.clone(),
        );
        let leases = keeps_others_from_leading(error).then(|| leases.clone());
        let task = tokio::spawn(async move {
            // Kept until the task ends, which ends the subscriptions.
            let _receivers = receivers;
            let marking = async {
                if let Some(leases) = leases {
                    leases.keep_mark(&subjects::halted_key(partition)).await;
                }
            };
            tokio::join!(service.serve(requests, replier), marking)
        });
        Self { task, reason }
    }

    /// Returns whether the halt has this error as its reason.
    pub(super) fn is_about(&self, error: &JournalError) -> bool {
        self.reason == error.to_string()
    }
}

impl Drop for Halt {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns whether a controller that halts for this reason keeps others from leading, so that a
/// controller without rows does not lead with an empty record.
///
/// - If the stream has content again, an operator may have decided already.
/// - A controller without rows has no data that the other controllers lack, and one of them may be
///   able to lead.
fn keeps_others_from_leading(error: &JournalError) -> bool {
    match error {
        JournalError::Replaced { last, .. } => *last == 0,
        JournalError::Missing { known, .. } | JournalError::Purged { known, .. } => *known > 0,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::keeps_others_from_leading;
    use crate::store::JournalError;

    #[test]
    fn only_a_controller_that_knows_more_than_the_stream_keeps_others_from_leading() {
        let stream = || "journal".to_owned();
        let missing = |known| JournalError::Missing {
            stream: stream(),
            known,
        };
        let purged = |known| JournalError::Purged {
            stream: stream(),
            first: 10,
            known,
        };
        let replaced = |last| JournalError::Replaced {
            stream: stream(),
            known: 9,
            last,
        };
        for error in [missing(9), purged(9), replaced(0)] {
            assert!(keeps_others_from_leading(&error), "{error}");
        }
        for error in [missing(0), purged(0), replaced(7)] {
            assert!(!keeps_others_from_leading(&error), "{error}");
        }
    }
}
