//! The agent's loop: it feeds the machine, makes durable what the machine wants kept, and only then does
//! what it says. One task; what the runtime does is polled in it too, so that dropping `run`'s future stops
//! everything at once, as a crash would.

use std::collections::HashSet;
use std::future::{Future, pending};
use std::mem::{Discriminant, discriminant};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::{Message, Subject, Subscriber};
use futures_util::StreamExt;
use scuttle_schemas::agents::Heartbeat;
use scuttle_schemas::subjects::AgentChannel;
use scuttle_schemas::{BootId, HostId, Text, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use uuid::Uuid;

use crate::counters::{Counters, log};
use crate::incoming::{self, Bad, Logged};
use crate::ledger::{Entry, Ledger, LedgerError};
use crate::link::Link;
use crate::machine::{
    Config, Effect, Ignored, Input, Machine, Note, Now, Progress, RequestId, Step,
};
use crate::runtime::{Inventory, ProgressSink, Runtime, RuntimeError, TeardownReport};
use crate::spans::Spans;

/// The most progress that waits for the loop; more is dropped.
const PROGRESS_CAPACITY: usize = 64;

/// What an agent is told about itself.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its host.
    pub host: HostId,
    /// The program's version.
    pub version: Text,
    /// Milliseconds between heartbeats, 1 to 3600000.
    pub interval_ms: u32,
    /// Decides the jitter of every wait.
    pub seed: u64,
}

/// Why an agent ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// What must be kept cannot be.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The ledger's thread died.
    #[error("cannot write the agent's ledger: {0}; start the agent again")]
    LedgerTask(#[from] tokio::task::JoinError),
    /// No subscription could be made.
    #[error("cannot subscribe to the commands of host {host}: {cause}; start the agent again")]
    Subscribe {
        /// The host.
        host: HostId,
        /// Why.
        cause: async_nats::SubscribeError,
    },
    /// The client was closed.
    #[error("the connection to NATS was closed; start the agent again")]
    Closed,
}

/// Runs one boot of an agent until `shutdown` is ready, or its future is dropped. A teardown that is then at work
/// goes on at the next start.
///
/// # Errors
/// The ledger cannot be used, or the NATS client was closed.
pub async fn run<R: Runtime, L: Ledger>(
    settings: Settings,
    link: Link,
    runtime: Arc<R>,
    ledger: L,
    counters: Arc<Counters>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    let mut shutdown = pin!(shutdown);
    let begun = Agent::begin(settings, link, runtime, ledger, counters);
    let mut agent = tokio::select! {
        () = &mut shutdown => return Ok(()),
        begun = begun => begun?,
    };
    loop {
        let event = tokio::select! {
            () = &mut shutdown => return Ok(()),
            event = agent.next() => event?,
        };
        agent.take(event).await?;
    }
}

type Pending<T> = Option<Pin<Box<dyn Future<Output = T> + Send>>>;

struct Agent<R, L> {
    host: HostId,
    machine: Machine,
    /// Absent only while it is written.
    ledger: Option<L>,
    runtime: Arc<R>,
    link: Link,
    /// The connection that the machine knows of.
    connection: Option<u64>,
    commands: Subscriber,
    replies: Subscriber,
    inbox: String,
    subjects: Subjects,
    changes: watch::Receiver<u64>,
    progress: (mpsc::Sender<Progress>, mpsc::Receiver<Progress>),
    teardown: Pending<Input>,
    reading: Pending<Result<Inventory, RuntimeError>>,
    origin: Instant,
    counters: Arc<Counters>,
    spans: Spans,
    /// Which kinds of bad messages and of ignored commands were logged: a flood of them is told once.
    logged: Logged,
    ignored: HashSet<Discriminant<Ignored>>,
}

struct Subjects {
    heartbeat: Subject,
    results: Subject,
    progress: Subject,
}

enum Event {
    Link,
    Command(Message),
    Reply(Message),
    Machine(Input),
}

impl<R: Runtime, L: Ledger> Agent<R, L> {
    async fn begin(
        settings: Settings,
        link: Link,
        runtime: Arc<R>,
        ledger: L,
        counters: Arc<Counters>,
    ) -> Result<Self, AgentError> {
        let (ledger, entries) = blocking(ledger, Ledger::load).await?;
        let origin = Instant::now();
        let config = Config {
            host: settings.host.clone(),
            boot_id: BootId(Uuid::now_v7()),
            version: settings.version,
            interval_ms: settings.interval_ms,
            seed: settings.seed,
        };
        let host = settings.host;
        let inbox = link.client().new_inbox();
        let subscribe = |subject: String| {
            let (client, host) = (link.client().clone(), host.clone());
            async move {
                let subscribed = client.subscribe(subject).await;
                subscribed.map_err(|cause| AgentError::Subscribe { host, cause })
            }
        };
        let commands = subscribe(AgentChannel::Commands.subject(&host)).await?;
        let replies = subscribe(format!("{inbox}.*")).await?;
        let (machine, step) = Machine::start(config, entries, now(origin));
        let mut agent = Self {
            machine,
            ledger: Some(ledger),
            changes: runtime.changes(),
            runtime,
            link,
            connection: None,
            commands,
            replies,
            inbox,
            subjects: Subjects {
                heartbeat: AgentChannel::Heartbeat.subject(&host).into(),
                results: AgentChannel::Results.subject(&host).into(),
                progress: AgentChannel::Progress.subject(&host).into(),
            },
            progress: mpsc::channel(PROGRESS_CAPACITY),
            teardown: None,
            reading: None,
            origin,
            counters,
            spans: Spans::default(),
            logged: Logged::default(),
            ignored: HashSet::new(),
            host,
        };
        agent.apply(step).await?;
        agent.take(Event::Link).await?;
        Ok(agent)
    }

    /// Waits for whatever comes first. Nothing is lost when this future is dropped.
    async fn next(&mut self) -> Result<Event, AgentError> {
        let deadline = self.origin + Duration::from_millis(self.machine.next_deadline());
        let input = tokio::select! {
            () = self.link.changed() => return Ok(Event::Link),
            message = self.commands.next() => {
                return message.map(Event::Command).ok_or(AgentError::Closed);
            }
            message = self.replies.next() => {
                return message.map(Event::Reply).ok_or(AgentError::Closed);
            }
            Some(progress) = self.progress.1.recv() => Input::Progress(progress),
            finished = ready(&mut self.teardown) => finished,
            inventory = ready(&mut self.reading) => Input::InventoryRead(inventory),
            Ok(()) = self.changes.changed() => Input::InventoryChanged,
            () = tokio::time::sleep_until(deadline) => Input::Tick,
        };
        Ok(Event::Machine(input))
    }

    async fn take(&mut self, event: Event) -> Result<(), AgentError> {
        let connection = self.link.connection();
        if connection != self.connection {
            if self.connection.is_some() {
                self.handle(Input::Disconnected).await?;
            }
            self.connection = connection;
            if connection.is_some() {
                self.handle(Input::Connected).await?;
            }
        }
        let input = match event {
            Event::Machine(input) => Some(input),
            Event::Command(message) if connection.is_some() => {
                let read = incoming::command(&message);
                self.count(read.as_ref().err().copied(), &message);
                read.ok()
            }
            Event::Reply(message) if connection.is_some() => {
                let (input, bad) = incoming::reply(&message);
                self.count(bad, &message);
                input
            }
            Event::Link | Event::Command(_) | Event::Reply(_) => None,
        };
        match input {
            Some(input) => self.handle(input).await,
            None => Ok(()),
        }
    }

    async fn handle(&mut self, input: Input) -> Result<(), AgentError> {
        self.spans.take(&input);
        let step = self.machine.handle(now(self.origin), input);
        self.apply(step).await
    }

    /// Durable first, then the effects.
    async fn apply(&mut self, step: Step) -> Result<(), AgentError> {
        if !step.writes.is_empty() {
            self.keep(step.writes).await?;
        }
        for effect in step.effects {
            self.act(effect).await;
        }
        Ok(())
    }

    async fn keep(&mut self, writes: Vec<Entry>) -> Result<(), AgentError> {
        let ledger = self.ledger.take().ok_or(AgentError::Closed)?;
        let (mut ledger, ()) = blocking(ledger, move |ledger| ledger.append(&writes)).await?;
        if ledger.is_long() {
            let entries = self.machine.ledger_entries();
            (ledger, ()) = blocking(ledger, move |ledger| ledger.rewrite(&entries)).await?;
        }
        self.ledger = Some(ledger);
        Ok(())
    }

    async fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Note(note) => {
                let first = match &note {
                    Note::Ignored(why) => self.ignored.insert(discriminant(why)),
                    _ => true,
                };
                self.counters.count(&note);
                self.spans.note(&note);
                if first {
                    log(&self.host, note);
                }
            }
            Effect::ReadInventory => {
                let runtime = self.runtime.clone();
                self.reading = Some(Box::pin(async move { runtime.inventory().await }));
            }
            Effect::StartTeardown {
                teardown,
                traceparent,
            } => {
                self.spans
                    .begin(&self.host, &teardown, traceparent.as_deref());
                let runtime = self.runtime.clone();
                let operation_id = teardown.operation_id;
                let progress = ProgressSink::new(operation_id, self.progress.0.clone());
                self.teardown = Some(Box::pin(async move {
                    let report: TeardownReport = runtime.teardown(teardown, progress).await;
                    Input::Finished {
                        operation_id,
                        report,
                    }
                }));
            }
            Effect::PublishProgress {
                message,
                traceparent,
            } => {
                let subject = &self.subjects.progress;
                self.link
                    .publish(&self.host, subject, None, traceparent, &message)
                    .await;
            }
            Effect::RequestResult {
                message,
                traceparent,
            } => {
                Counters::add(&self.counters.results_sent);
                let id = message.operation_id;
                let traceparent = self.spans.of_result(id, traceparent);
                let reply = Some(self.reply_to(RequestId::Result(id)));
                let subject = &self.subjects.results;
                self.link
                    .publish(&self.host, subject, reply, traceparent, &message)
                    .await;
            }
            Effect::RequestHeartbeat(message) => {
                Counters::add(&self.counters.heartbeats_sent);
                let Heartbeat { sequence, page, .. } = message;
                let reply = Some(self.reply_to(RequestId::Heartbeat { sequence, page }));
                let subject = &self.subjects.heartbeat;
                self.link
                    .publish(&self.host, subject, reply, None, &message)
                    .await;
            }
        }
    }

    fn reply_to(&self, request: RequestId) -> String {
        format!("{}.{request}", self.inbox)
    }

    fn count(&mut self, bad: Option<Bad>, message: &Message) {
        if let Some(bad) = bad {
            let bytes = message.payload.len();
            self.logged.count(&self.host, &self.counters, bad, bytes);
        }
    }
}

/// What a message on the command subject says, if it is a command.
pub fn command(message: &Message) -> Option<Input> {
    incoming::command(message).ok()
}

/// What a reply says, if it is one to a request of this agent.
pub fn reply(message: &Message) -> Option<Input> {
    incoming::reply(message).0
}

/// The end of what is pending; never, when nothing is.
async fn ready<T>(slot: &mut Pending<T>) -> T {
    let done = match slot {
        Some(future) => future.await,
        None => pending().await,
    };
    *slot = None;
    done
}

/// Does what waits for a disk on a thread that may wait.
async fn blocking<L: Ledger, T: Send + 'static>(
    mut ledger: L,
    act: impl FnOnce(&mut L) -> Result<T, LedgerError> + Send + 'static,
) -> Result<(L, T), AgentError> {
    if !ledger.waits() {
        let done = act(&mut ledger)?;
        return Ok((ledger, done));
    }
    tokio::task::spawn_blocking(move || {
        let done = act(&mut ledger)?;
        Ok((ledger, done))
    })
    .await?
}

fn now(origin: Instant) -> Now {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Now {
        monotonic_ms: origin.elapsed().as_millis() as u64,
        wall: Timestamp::from_millis(since_1970.as_millis() as i64),
    }
}
