//! A journal in a `JetStream` stream. Each append states the sequence of the message that must be
//! the last one, and reading can start at any sequence. This module does not interpret batches.

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
use scuttle_schemas::subjects;
use tokio::runtime::Handle;

use crate::partition::assignment::PartitionAssignment;
use crate::store::journal_error::JournalError;
use crate::store::replicated::framing::{self, BatchAssembler};
use crate::store::replicated::shared_journal::{Message, SequenceRange, SharedJournal};

/// The timeout of an append and of any other request to the servers.
///
/// The timeout is shorter than the election of a new leader for a stream. A longer timeout would
/// not help: the servers never reply to a request that was sent before the election, and requesters
/// should learn about the failure early.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// The number of bytes that are reserved in each message for headers: the expected sequence, and
/// the headers that a server adds.
const HEADER_SIZE: usize = 256;

/// The key under which the stream's metadata holds the number of partitions.
const PARTITIONS: &str = "scuttle-partitions";

/// The stream of one partition's journal and the connection to its servers.
#[derive(Debug, Clone)]
pub struct JournalStream {
    pub client: Client,
    pub name: String,
    /// The subject of the stream's messages.
    pub subject: String,
    pub replicas: usize,
    /// The partition whose changes the journal holds.
    pub assignment: PartitionAssignment,
}

impl JournalStream {
    pub fn new(client: Client, replicas: usize, assignment: PartitionAssignment) -> Self {
        Self {
            client,
            name: subjects::journal_stream_name(assignment.partition),
            subject: subjects::journal_subject(assignment.partition),
            replicas,
            assignment,
        }
    }
}

/// A journal in a stream that has been opened.
pub struct StreamJournal {
    context: Context,
    stream: Stream,
    name: String,
    subject: String,
    /// The messages that are being read, and the batch that is assembled from them. `None` until
    /// [`SharedJournal::seek`] succeeds.
    reading: Option<(Ordered, BatchAssembler)>,
    runtime: Handle,
}

impl StreamJournal {
    /// Opens the stream and creates it if it is missing. Blocks, so it must not be called on a
    /// thread of the async runtime.
    pub fn open(runtime: Handle, stream: JournalStream) -> Result<Self, JournalError> {
        Self::open_after(runtime, stream, 0)
    }

    /// Opens the stream. If the stream is missing, creates it with `before + 1` as the sequence of
    /// its first message. Blocks, so it must not be called on a thread of the async runtime.
    pub fn open_after(
        runtime: Handle,
        stream: JournalStream,
        before: u64,
    ) -> Result<Self, JournalError> {
        let JournalStream {
            client,
            name,
            subject,
            replicas,
            assignment,
        } = stream;
        let context = runtime.block_on(async {
            let mut context = jetstream::new(client);
            context.set_timeout(REQUEST_TIMEOUT);
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
            metadata: HashMap::from([(PARTITIONS.to_owned(), assignment.partitions.to_string())]),
            ..Config::default()
        };
        let opened = runtime.block_on(context.get_or_create_stream(config));
        let stream = opened.map_err(failed("open", &name))?;
        let found = stream.cached_info().config.metadata.get(PARTITIONS);
        // A stream without this metadata was created before there could be several partitions.
        let found = found.map_or("1", String::as_str);
        if found != assignment.partitions.to_string() {
            return Err(JournalError::PartitionCountMismatch {
                stream: name,
                found: found.to_owned(),
                expected: assignment.partitions,
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

    /// Blocks until the servers respond. An error names `action`.
    fn wait_for<T, E: std::fmt::Display>(
        &self,
        action: &'static str,
        response: impl Future<Output = Result<T, E>>,
    ) -> Result<T, JournalError> {
        self.runtime
            .block_on(response)
            .map_err(failed(action, &self.name))
    }
}

impl SharedJournal for StreamJournal {
    fn name(&self) -> &str {
        &self.name
    }

    fn sequence_range(&mut self) -> Result<SequenceRange, JournalError> {
        let info = self.wait_for("read", self.stream.get_info())?;
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
        let consumer = self.wait_for("read", self.stream.create_consumer(consumer))?;
        let messages = self.wait_for("read", consumer.messages())?;
        self.reading = Some((messages, BatchAssembler::default()));
        Ok(())
    }

    fn next(&mut self, timeout: Duration) -> Result<Option<Message>, JournalError> {
        let Some((messages, assembler)) = &mut self.reading else {
            return Err(failed("read", &self.name)("reading has not started"));
        };
        let next = async { tokio::time::timeout(timeout, messages.try_next()).await };
        let message = match self.runtime.block_on(next) {
            Err(_) => return Ok(None),
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => return Err(failed("read", &self.name)("the consumer ended")),
            Ok(Err(error)) => return Err(failed("read", &self.name)(error)),
        };
        let info = message.info().map_err(failed("read", &self.name))?;
        let sequence = info.stream_sequence;
        let batch = assembler.push(&message.payload);
        let batch = batch.map_err(|cause| JournalError::foreign(&self.name, sequence, &cause))?;
        Ok(Some(Message { sequence, batch }))
    }

    fn append(&mut self, expected: u64, batch: &[u8]) -> Result<u64, JournalError> {
        let max_payload = self.context.client().server_info().max_payload;
        let appended = async {
            let mut last = expected;
            for part in framing::split_batch(batch, max_payload - HEADER_SIZE) {
                // Send each part only after the part before it was acknowledged. If another
                // leader's message had taken the place of that part, this part would otherwise find
                // the sequence that it expects and be appended after the foreign message.
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
            _ => failed("append to", &self.name)(error),
        })
    }
}

/// Returns a function for `map_err` that turns a failed request into [`JournalError::Failed`].
fn failed<E: std::fmt::Display>(
    action: &'static str,
    stream: &str,
) -> impl FnOnce(E) -> JournalError {
    let stream = stream.to_owned();
    move |cause| JournalError::failed(action, &stream, cause.to_string())
}
