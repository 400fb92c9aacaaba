//! A journal that is a `JetStream` stream: appended to at the sequence that its writer expects, and read from any sequence on.
//! What a batch means is not known here.

use std::future::Future;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{DeliverPolicy, pull::OrderedConfig};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, RetentionPolicy, State, StorageType, Stream,
};
use async_nats::jetstream::{self, Context};
use futures_util::TryStreamExt;
use tokio::runtime::Handle;

use super::parts::{self, Joined};

/// How long an append, or anything else that is asked of the servers, may take: longer than they take to choose a stream's new
/// leader.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of a message beside its payload: the header with the expected sequence, and what a server adds.
const HEADER: usize = 256;

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

/// The stream, for whoever writes it, as long as nobody else does.
pub(super) struct Journal {
    context: Context,
    stream: Stream,
    name: String,
    subject: String,
    /// The last sequence that is known.
    last: u64,
    runtime: Handle,
}

impl Journal {
    /// Opens the stream; makes it if it is missing. Not to be called by a thread of the runtime's.
    pub(super) fn open(
        runtime: Handle,
        client: Client,
        (name, subject): (&str, &str),
        replicas: usize,
    ) -> Result<Self, JournalError> {
        let context = runtime.block_on(async {
            let mut context = jetstream::new(client);
            context.set_timeout(PATIENCE);
            context
        });
        let config = Config {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            num_replicas: replicas,
            deny_delete: true,
            ..Config::default()
        };
        let opened = runtime.block_on(context.get_or_create_stream(config));
        let stream = opened.map_err(refused("open", name))?;
        let last = stream.cached_info().state.last_sequence;
        Ok(Self {
            context,
            stream,
            name: name.to_owned(),
            subject: subject.to_owned(),
            last,
            runtime,
        })
    }

    /// Appends a batch; answers its last sequence.
    pub(super) fn append(&mut self, batch: &[u8]) -> Result<u64, JournalError> {
        let most = self.context.client().server_info().max_payload;
        let last = self.last;
        let appended = async {
            let mut acknowledgements = Vec::new();
            for (expected, part) in (last..).zip(parts::split(batch, most - HEADER)) {
                let message = PublishMessage::build().payload(part);
                let message = message.expected_last_sequence(expected);
                acknowledgements.push(
                    self.context
                        .send_publish(self.subject.clone(), message)
                        .await?,
                );
            }
            let mut last = last;
            for acknowledgement in acknowledgements {
                last = acknowledgement.await?.sequence;
            }
            Ok(last)
        };
        let appended = self.runtime.block_on(appended);
        self.last =
            appended.map_err(
                |error: jetstream::context::PublishError| match error.kind() {
                    PublishErrorKind::WrongLastSequence => JournalError::Superseded {
                        stream: self.name.clone(),
                    },
                    _ => refused("append to", &self.name)(error),
                },
            )?;
        Ok(self.last)
    }

    /// Hands every whole batch after sequence `after` to `each`, with its last sequence. What is appended then comes after the last
    /// of what was there.
    pub(super) fn read<E: From<JournalError>>(
        &mut self,
        after: u64,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let info = self.ask("read", self.stream.get_info())?;
        let State {
            first_sequence,
            last_sequence,
            messages,
            ..
        } = info.state;
        self.last = last_sequence;
        if last_sequence <= after {
            return Ok(());
        }
        let wanted = after + 1;
        if messages == 0 || first_sequence > wanted {
            let first = first_sequence;
            let stream = self.name.clone();
            return Err(JournalError::Trimmed {
                stream,
                first,
                wanted,
            }
            .into());
        }
        let consumer = OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: wanted,
            },
            ..OrderedConfig::default()
        };
        let consumer = self.ask("read", self.stream.create_consumer(consumer))?;
        let mut messages = self.ask("read", consumer.messages())?;
        let mut joined = Joined::default();
        loop {
            let next = async { tokio::time::timeout(PATIENCE, messages.try_next()).await };
            let message = match self.runtime.block_on(next) {
                Ok(Ok(Some(message))) => message,
                Ok(Ok(None)) => return Err(refused("read", &self.name)("it ended").into()),
                Ok(Err(error)) => return Err(refused("read", &self.name)(error).into()),
                Err(late) => return Err(refused("read", &self.name)(late).into()),
            };
            let info = message.info().map_err(refused("read", &self.name))?;
            let sequence = info.stream_sequence;
            let batch = joined.take(&message.payload);
            let batch = batch.map_err(|cause| JournalError::Foreign {
                stream: self.name.clone(),
                sequence,
                cause: cause.to_string(),
            })?;
            if let Some(batch) = batch {
                each(sequence, &batch)?;
            }
            if sequence >= last_sequence {
                return Ok(());
            }
        }
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

    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

/// For `map_err`: what was not done.
fn refused<E: std::fmt::Display>(
    action: &'static str,
    stream: &str,
) -> impl FnOnce(E) -> JournalError {
    let stream = stream.to_owned();
    move |cause| JournalError::Refused {
        action,
        stream,
        cause: cause.to_string(),
    }
}
