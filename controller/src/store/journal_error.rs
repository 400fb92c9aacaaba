//! Errors of a journal that is a stream on the NATS servers.

use scuttle_schemas::PartitionCount;

/// The reason why an operation on a journal stream failed.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another controller has appended to the journal.
    #[error(
        "another controller has written to the stream {stream}: this controller is no longer the leader"
    )]
    Superseded { stream: String },
    /// The servers rejected a request or did not respond.
    #[error(
        "cannot {action} the stream {stream}: {cause}; check that JetStream is enabled for the controller's account and that enough servers are running for the stream's replicas"
    )]
    Failed {
        action: &'static str,
        stream: String,
        cause: String,
    },
    /// A message that a controller wrote cannot be read.
    #[error(
        "message {sequence} of the stream {stream} was written by a controller and cannot be read ({cause}): stop all controllers and run `scuttle-controller recover` on the one with the newest rows (docs/operations.md)"
    )]
    Damaged {
        stream: String,
        sequence: u64,
        cause: String,
    },
    /// The stream belongs to a swarm with another number of partitions.
    #[error(
        "the stream {stream} belongs to a swarm with {found} partitions, but --partitions is {expected}: start every controller with {found}, or migrate the record (docs/operations.md)"
    )]
    PartitionCountMismatch {
        stream: String,
        /// The number of partitions that the stream states.
        found: String,
        /// The number of partitions that this controller was started with.
        expected: PartitionCount,
    },
    /// The stream has been deleted, or its servers have been replaced.
    #[error(
        "the stream {stream} does not exist: it was deleted, or its servers were replaced (the rows here end with message {known})"
    )]
    Missing {
        stream: String,
        /// The sequence of the last message that this controller has.
        known: u64,
    },
    /// The stream was created again, or its content was replaced by a recovery.
    #[error(
        "the stream {stream} is not the one that the rows here were read from: it was deleted and created again, or recovered (the stream ends with message {last}, the rows here with message {known} of the earlier stream)"
    )]
    Replaced {
        stream: String,
        known: u64,
        /// The sequence of the last message of the stream that exists now.
        last: u64,
    },
    /// The stream ends before a message that is known to have existed.
    #[error(
        "the stream {stream} ends with message {last}, but the rows here or a snapshot contain message {known}: the servers lost messages that they had acknowledged (docs/reliability.md, sync_interval), or the stream was replaced"
    )]
    Lost {
        stream: String,
        last: u64,
        known: u64,
    },
    /// Messages that no snapshot contains were removed from the stream.
    #[error(
        "the stream {stream} was purged: it starts with message {first}, and no snapshot contains all messages before that (the rows here end with message {known})"
    )]
    Purged {
        stream: String,
        first: u64,
        known: u64,
    },
    /// The messages that the reader needs were trimmed.
    #[error(
        "the stream {stream} starts with message {first}, but the rows here need message {wanted} next"
    )]
    Trimmed {
        stream: String,
        first: u64,
        wanted: u64,
    },
}

impl JournalError {
    pub(crate) fn failed(action: &'static str, stream: &str, cause: String) -> Self {
        Self::Failed {
            action,
            stream: stream.to_owned(),
            cause,
        }
    }

    pub(crate) fn trimmed(stream: &str, first: u64, known: u64) -> Self {
        Self::Trimmed {
            stream: stream.to_owned(),
            first,
            wanted: known + 1,
        }
    }

    pub(crate) fn damaged(stream: &str, sequence: u64, cause: &dyn std::fmt::Display) -> Self {
        Self::Damaged {
            stream: stream.to_owned(),
            sequence,
            cause: cause.to_string(),
        }
    }

    /// Returns whether the stream lacks accepted changes, so that no controller may serve until an
    /// operator has decided what the record is.
    pub fn is_loss(&self) -> bool {
        matches!(
            self,
            Self::Missing { .. } | Self::Replaced { .. } | Self::Lost { .. } | Self::Purged { .. }
        )
    }
    /// Returns whether only an operator can resolve the error, because reading the journal again
    /// does not help.
    pub fn needs_operator(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::PartitionCountMismatch { .. }
        )
    }
}
