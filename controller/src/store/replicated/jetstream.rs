//! A journal in a `JetStream` stream. Each append states the sequence of the message that must be
//! the last one, and reading can start at any sequence. This module does not interpret batches.

use std::collections::HashMap;
use std::future::Future;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{self, Context};
use async_nats::{HeaderMap, header};
use futures_util::TryStreamExt;
use scuttle_schemas::subjects;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::nats::stream_lookup::find_stream;
use crate::partition::assignment::PartitionAssignment;
use crate::store::format_version::StreamId;
use crate::store::journal_error::JournalError;
use crate::store::replicated::framing::{self, BatchAssembler};
use crate::store::replicated::shared_journal::{
    Content, JournalState, Message, SharedJournal, SnapshotInfo,
};
use crate::store::replicated::snapshot_list;

/// The timeout of an append and of any other request to the servers.
///
/// The timeout is shorter than the election of a new leader for a stream. A longer timeout would
/// not help: the servers never reply to a request that was sent before the election, and requesters
/// should learn about the failure early.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// The interval at which the state of the stream is requested while a controller follows or leads.
const STATE_INTERVAL: Duration = Duration::from_millis(300);

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
    /// The prefix of the names of the partition's snapshots.
    snapshot_prefix: String,
    /// The messages that are being read, and the batch that is assembled from them. `None` until
    /// [`SharedJournal::seek`] succeeds.
    reading: Option<(Ordered, BatchAssembler)>,
    /// The request for the stream's state that has not been answered yet.
    state_request: Option<StateRequest>,
    /// The time of the last request for the stream's state.
    state_requested_at: Instant,
    runtime: Handle,
}

/// A request for the stream's state.
struct StateRequest {
    /// The sequence of the last message that was known when the request was sent.
    last: u64,
    reply: oneshot::Receiver<Result<JournalState, JournalError>>,
}

impl StreamJournal {
    /// Opens the stream, which must exist. Blocks, so it must not be called on a thread of the
    /// async runtime.
    ///
    /// # Errors
    /// - [`JournalError::Missing`] if the stream does not exist.
    /// - If the stream belongs to a swarm with another number of partitions.
    /// - If the servers do not respond.
    pub fn open_existing(runtime: Handle, stream: JournalStream) -> Result<Self, JournalError> {
        let context = new_context(&runtime, &stream);
        let found = runtime.block_on(find_stream(&context, &stream.name));
        let Some(found) = found.map_err(failed("open", &stream.name))? else {
            return Err(missing(stream.name));
        };
        Self::from_stream(runtime, stream, context, found)
    }

    /// Opens the stream. If the stream is missing, creates it with `before + 1` as the sequence of
    /// its first message. Blocks, so it must not be called on a thread of the async runtime.
    ///
    /// # Errors
    /// - If the stream belongs to a swarm with another number of partitions.
    /// - If the servers do not respond.
    pub fn open_after(
        runtime: Handle,
        stream: JournalStream,
        before: u64,
    ) -> Result<Self, JournalError> {
        let context = new_context(&runtime, &stream);
        let partitions = stream.assignment.partitions.to_string();
        let config = Config {
            name: stream.name.clone(),
            subjects: vec![stream.subject.clone()],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            num_replicas: stream.replicas,
            deny_delete: true,
            first_sequence: Some(before + 1),
            metadata: HashMap::from([(PARTITIONS.to_owned(), partitions)]),
            ..Config::default()
        };
        let opened = runtime.block_on(context.get_or_create_stream(config));
        let opened = opened.map_err(failed("open", &stream.name))?;
        Self::from_stream(runtime, stream, context, opened)
    }

    fn from_stream(
        runtime: Handle,
        stream: JournalStream,
        context: Context,
        opened: Stream,
    ) -> Result<Self, JournalError> {
        let partitions = stream.assignment.partitions;
        let found = opened.cached_info().config.metadata.get(PARTITIONS);
        // A stream without this metadata was created before there could be several partitions.
        let found = found.map_or("1", String::as_str);
        if found != partitions.to_string() {
            return Err(JournalError::PartitionCountMismatch {
                stream: stream.name,
                found: found.to_owned(),
                expected: partitions,
            });
        }
        Ok(Self {
            context,
            stream: opened,
            name: stream.name,
            subject: stream.subject,
            snapshot_prefix: subjects::snapshot_name_prefix(stream.assignment.partition),
            reading: None,
            state_request: None,
            state_requested_at: Instant::now(),
            runtime,
        })
    }

    /// Removes all messages. The next message gets the sequence after the last removed one.
    ///
    /// # Errors
    /// If the servers do not respond.
    pub fn purge(&mut self) -> Result<(), JournalError> {
        self.wait_for("purge", self.stream.purge().into_future())
            .map(drop)
    }

    /// Requests the state of the stream with this name.
    async fn request_state(context: Context, name: String) -> Result<JournalState, JournalError> {
        let found = find_stream(&context, &name).await;
        let found = found.map_err(failed("read", &name))?;
        let found = found.ok_or_else(|| missing(name))?;
        let info = found.cached_info();
        let id = i64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(i64::MAX);
        Ok(JournalState {
            id: StreamId(id),
            first: info.state.first_sequence,
            last: info.state.last_sequence,
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

    fn state(&mut self) -> Result<JournalState, JournalError> {
        let request = Self::request_state(self.context.clone(), self.name.clone());
        self.runtime.block_on(request)
    }

    fn poll_state(&mut self, last: u64) -> Option<(u64, Result<JournalState, JournalError>)> {
        if let Some(request) = &mut self.state_request {
            let reply = request.reply.try_recv().ok()?;
            let last = request.last;
            self.state_request = None;
            return Some((last, reply));
        }
        if self.state_requested_at.elapsed() >= STATE_INTERVAL {
            let (sender, reply) = oneshot::channel();
            let request = Self::request_state(self.context.clone(), self.name.clone());
            self.runtime
                .spawn(async move { sender.send(request.await) });
            self.state_requested_at = Instant::now();
            self.state_request = Some(StateRequest { last, reply });
        }
        None
    }

    fn newest_snapshot(&mut self) -> Result<Option<SnapshotInfo>, JournalError> {
        let newest = snapshot_list::find_newest(&self.context, &self.snapshot_prefix);
        let newest = self.runtime.block_on(newest);
        newest.map_err(failed("list the snapshots of", &self.name))
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
        let content = if is_own(message.headers.as_ref(), sequence) {
            let batch = assembler.push(&message.payload);
            let batch = batch.map_err(|cause| JournalError::damaged(&self.name, sequence, &cause));
            batch?.map_or(Content::Part, Content::Batch)
        } else {
            Content::Foreign
        };
        Ok(Some(Message { sequence, content }))
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

fn new_context(runtime: &Handle, stream: &JournalStream) -> Context {
    // Creating a context needs the runtime.
    runtime.block_on(async {
        let mut context = jetstream::new(stream.client.clone());
        context.set_timeout(REQUEST_TIMEOUT);
        context
    })
}

fn missing(stream: String) -> JournalError {
    JournalError::Missing { stream, known: 0 }
}

/// Returns whether a controller has written the message with this sequence: only controllers state
/// the sequence that they expect, and the server rejects a wrong one. The payload is not
/// considered, so a controller's damaged message is never taken for a foreign one.
fn is_own(headers: Option<&HeaderMap>, sequence: u64) -> bool {
    let expected = headers.and_then(|headers| headers.get(header::NATS_EXPECTED_LAST_SEQUENCE));
    let expected = expected.and_then(|text| text.as_str().parse().ok());
    expected == sequence.checked_sub(1)
}

/// Returns a function for `map_err` that turns a failed request into [`JournalError::Failed`].
fn failed<E: std::fmt::Display>(
    action: &'static str,
    stream: &str,
) -> impl FnOnce(E) -> JournalError {
    let stream = stream.to_owned();
    move |cause| JournalError::failed(action, &stream, cause.to_string())
}
