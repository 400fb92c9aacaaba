//! A journal that is a `JetStream` stream: appended to at the sequence that its writer expects, and read from any sequence on.
//! What a batch means is not known here.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{self, Context};
use futures_util::TryStreamExt;
use scuttle_schemas::{PartitionCount, subjects};
use tokio::runtime::Handle;

use super::framing::{self, BatchAssembler};
use super::{Message, SequenceRange, SharedJournal};
use crate::partition::assignment::PartitionAssignment;

/// How long an append, or anything else that is asked of the servers, may take. It is less than they take to choose a stream's
/// new leader; but what is not answered before that is not answered after it, and whoever waits should hear so.
const PATIENCE: Duration = Duration::from_secs(3);

/// Bytes of a message beside its payload: the header with the expected sequence, and what a server adds.
const HEADER: usize = 256;

/// Where a stream says how many there are over which the hosts are divided.
const PARTITIONS: &str = "scuttle-partitions";

/// What can go wrong with a journal that is a stream.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Somebody else wrote to it.
    #[error(
        "another controller has written to the stream {stream} since: this one does not lead any more"
    )]
    Superseded {
        /// The stream.
        stream: String,
    },
    /// The servers do not do it.
    #[error(
        "cannot {action} the stream {stream}: {cause}; see that JetStream is enabled for the controller's account, that the servers are up, and that enough of them are for its replicas"
    )]
    Refused {
        /// What was tried.
        action: &'static str,
        /// The stream.
        stream: String,
        /// Why not.
        cause: String,
    },
    /// It holds something else.
    #[error("the stream {stream} is not a Scuttle journal (message {sequence}: {cause})")]
    Foreign {
        /// The stream.
        stream: String,
        /// Which message.
        sequence: u64,
        /// What is wrong with it.
        cause: String,
    },
    /// It is one of another number.
    #[error(
        "the stream {stream} is one of {there} that the hosts are divided over, and --shards-of-control is {here}: it is to be {there} for all controllers, until the record is migrated (docs/operations.md)"
    )]
    PartitionCountMismatch {
        /// The stream.
        stream: String,
        /// Of how many it is.
        there: String,
        /// Of how many it was said to be.
        here: PartitionCount,
    },
    /// It ends before what is stored here.
    #[error(
        "the stream {stream} ends with message {last}, and message {known} is among the rows here, or in a snapshot: the servers lost what they had acknowledged (docs/reliability.md, sync_interval), or it is another stream of that name; it is waited for"
    )]
    Lost {
        /// The stream.
        stream: String,
        /// Its last message.
        last: u64,
        /// The last that is known here.
        known: u64,
    },
    /// What is wanted of it was trimmed.
    #[error(
        "the stream {stream} begins with message {first}, and what is stored here ends before message {wanted}"
    )]
    Trimmed {
        /// The stream.
        stream: String,
        /// The first that it has.
        first: u64,
        /// The first that was wanted.
        wanted: u64,
    },
}

impl JournalError {
    pub(super) fn refused(action: &'static str, stream: &str, cause: String) -> Self {
        Self::Refused {
            action,
            stream: stream.to_owned(),
            cause,
        }
    }

    pub(super) fn trimmed(stream: &str, first: u64, known: u64) -> Self {
        Self::Trimmed {
            stream: stream.to_owned(),
            first,
            wanted: known + 1,
        }
    }

    pub(super) fn foreign(stream: &str, sequence: u64, cause: &dyn std::fmt::Display) -> Self {
        Self::Foreign {
            stream: stream.to_owned(),
            sequence,
            cause: cause.to_string(),
        }
    }
}

/// Which stream, and how it is reached.
#[derive(Debug, Clone)]
pub struct JetStream {
    /// The servers.
    pub client: Client,
    /// What it is called there.
    pub name: String,
    /// The subject that it is written to on.
    pub subject: String,
    /// How many servers keep it.
    pub replicas: usize,
    /// Which hosts it is the journal of.
    pub assignment: PartitionAssignment,
}

impl JetStream {
    /// The journal of these hosts.
    pub fn of(client: Client, replicas: usize, assignment: PartitionAssignment) -> Self {
        Self {
            client,
            name: subjects::journal_stream_name(assignment.partition),
            subject: subjects::journal_subject(assignment.partition),
            replicas,
            assignment,
        }
    }
}

/// A journal that is a stream.
pub struct StreamJournal {
    context: Context,
    stream: Stream,
    name: String,
    subject: String,
    /// What is read, and the part of a batch that has come.
    reading: Option<(Ordered, BatchAssembler)>,
    runtime: Handle,
}

impl StreamJournal {
    /// Opens the stream; makes it if it is missing. Not to be called by a thread of the runtime's.
    ///
    /// # Errors
    /// The servers do not do it.
    pub fn open(runtime: Handle, at: JetStream) -> Result<Self, JournalError> {
        Self::open_after(runtime, at, 0)
    }

    /// The same; makes one whose first message comes after this one.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_after(runtime: Handle, at: JetStream, before: u64) -> Result<Self, JournalError> {
        let JetStream {
            client,
            name,
            subject,
            replicas,
            assignment,
        } = at;
        let context = runtime.block_on(async {
            let mut context = jetstream::new(client);
            context.set_timeout(PATIENCE);
            context
        });
        let config = Config {
            name: name.clone(),
            subjects: vec![subject.clone()],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            num_replicas: replicas,
            deny_delete: true,
            first_sequence: Some(before + 1),
            metadata: HashMap::from([(PARTITIONS.to_owned(), assignment.of.to_string())]),
            ..Config::default()
        };
        let opened = runtime.block_on(context.get_or_create_stream(config));
        let stream = opened.map_err(refused("open", &name))?;
        let there = stream.cached_info().config.metadata.get(PARTITIONS);
        // There was one alone before there could be several.
        let there = there.map_or("1", String::as_str);
        if there != assignment.of.to_string() {
            return Err(JournalError::PartitionCountMismatch {
                stream: name,
                there: there.to_owned(),
                here: assignment.of,
            });
        }
        Ok(Self {
            context,
            stream,
            name,
            subject,
            reading: None,
            runtime,
        })
    }

    /// Waits for an answer of the servers.
    fn ask<T, E: std::fmt::Display>(
        &self,
        action: &'static str,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, JournalError> {
        self.runtime
            .block_on(answer)
            .map_err(refused(action, &self.name))
    }
}

impl SharedJournal for StreamJournal {
    fn name(&self) -> &str {
        &self.name
    }

    fn sequence_range(&mut self) -> Result<SequenceRange, JournalError> {
        let info = self.ask("read", self.stream.get_info())?;
        Ok(SequenceRange {
            first: info.state.first_sequence,
            last: info.state.last_sequence,
        })
    }

    fn seek(&mut self, after: u64) -> Result<(), JournalError> {
        self.reading = None;
        let consumer = OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: after + 1,
            },
            ..OrderedConfig::default()
        };
        let consumer = self.ask("read", self.stream.create_consumer(consumer))?;
        let messages = self.ask("read", consumer.messages())?;
        self.reading = Some((messages, BatchAssembler::default()));
        Ok(())
    }

    fn next(&mut self, patience: Duration) -> Result<Option<Message>, JournalError> {
        let Some((messages, joined)) = &mut self.reading else {
            return Err(refused("read", &self.name)("nobody has begun to"));
        };
        let next = async { tokio::time::timeout(patience, messages.try_next()).await };
        let message = match self.runtime.block_on(next) {
            Err(_) => return Ok(None),
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return Err(refused("read", &self.name)("it ended")),
            Ok(Err(error)) => return Err(refused("read", &self.name)(error)),
        };
        let info = message.info().map_err(refused("read", &self.name))?;
        let sequence = info.stream_sequence;
        let batch = joined.take(&message.payload);
        let batch = batch.map_err(|cause| JournalError::foreign(&self.name, sequence, &cause))?;
        Ok(Some(Message { sequence, batch }))
    }

    fn append(&mut self, expected: u64, batch: &[u8]) -> Result<u64, JournalError> {
        let most = self.context.client().server_info().max_payload;
        let appended = async {
            let mut last = expected;
            for part in framing::split_batch(batch, most - HEADER) {
                // When the one before it is there, and not earlier: where another leader's message took its place, that would be
                // the last that this one expects, and this one would be appended.
                let message = PublishMessage::build().payload(part);
                let message = message.expected_last_sequence(last);
                let sent = self.context.send_publish(self.subject.clone(), message);
                last = sent.await?.await?.sequence;
            }
            Ok(last)
        };
        let appended = self.runtime.block_on(appended);
        appended.map_err(|error: PublishError| match error.kind() {
            PublishErrorKind::WrongLastSequence => JournalError::Superseded {
                stream: self.name.clone(),
            },
            _ => refused("append to", &self.name)(error),
        })
    }
}

/// For `map_err`: what was not done.
fn refused<E: std::fmt::Display>(
    action: &'static str,
    stream: &str,
) -> impl FnOnce(E) -> JournalError {
    let stream = stream.to_owned();
    move |cause| JournalError::refused(action, &stream, cause.to_string())
}
