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
    /// The stream contains a message that Scuttle did not write.
    #[error("the stream {stream} is not a Scuttle journal (message {sequence}: {cause})")]
    Foreign {
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
    /// The stream ends before a message that is known to have existed.
    #[error(
        "the stream {stream} ends with message {last}, but the rows here or a snapshot contain message {known}: the servers lost messages that they had acknowledged (docs/reliability.md, sync_interval), or the stream was replaced; waiting for the message"
    )]
    Lost {
        stream: String,
        last: u64,
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

    pub(crate) fn foreign(stream: &str, sequence: u64, cause: &dyn std::fmt::Display) -> Self {
        Self::Foreign {
            stream: stream.to_owned(),
            sequence,
            cause: cause.to_string(),
        }
    }
}
