//! The agent's loop: it passes inputs to the machine, makes the machine's writes durable, and only
//! then carries out the machine's effects.
//!
//! The loop is one task, which also polls the futures of the runtime. Dropping the future of `run`
//! therefore stops everything immediately, as a crash would, except an access to the ledger that
//! has already begun.

use std::collections::HashSet;
use std::future::{Future, pending};
use std::mem::{Discriminant, discriminant};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, Subject, Subscriber};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use scuttle_nats::check_max_payload;
use scuttle_schemas::agents::Heartbeat;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_schemas::{BootId, HostId, Note, Text};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::wall_clock;
use crate::ledger::{Entry, Ledger, LedgerError};
use crate::machine::{
    AgentEvent, Config, Effect, HeartbeatPage, IgnoreReason, Input, Machine, Now, Step,
};
use crate::nats::connection::{Connection, Outgoing};
use crate::nats::decode::{decode_command, decode_reply};
use crate::nats::malformed::{MalformedLog, MalformedMessage};
use crate::nats::request_id::RequestId;
use crate::observability::Counters;
use crate::observability::event_log::log_event;
use crate::observability::spans::Spans;
use crate::runtime::{Inventory, Progress, ProgressSink, Runtime, RuntimeError};

/// The maximum number of progress reports that wait for the loop. Further reports are dropped.
const PROGRESS_CAPACITY: usize = 64;

/// The interval at which the agent checks that its ledger is still in place.
const LEDGER_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The settings of an agent.
#[derive(Debug, Clone)]
pub struct Settings {
    pub host: HostId,
    /// The version of the program, which every heartbeat contains.
    pub version: Text,
    /// The heartbeat interval in milliseconds, 1 to 3600000.
    pub interval_ms: u32,
    /// The seed of the random jitter that is applied to delays.
    pub seed: u64,
    /// The maximum number of teardowns that run at the same time, at least 1.
    pub concurrency: usize,
}

/// The settings of an agent, and the components that it uses.
pub struct AgentParts<R, L> {
    pub settings: Settings,
    pub connection: Connection,
    pub runtime: Arc<R>,
    pub ledger: L,
    pub counters: Arc<Counters>,
}

/// The reason why an agent stopped without a shutdown.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The thread that accesses the ledger panicked.
    #[error("cannot write the agent's ledger: {0}; start the agent again")]
    LedgerTask(#[from] tokio::task::JoinError),
    #[error("cannot subscribe to the commands of host {host}: {cause}; start the agent again")]
    Subscribe {
        host: HostId,
        cause: async_nats::SubscribeError,
    },
    #[error("the connection to NATS was closed; start the agent again")]
    Closed,
}

/// Runs one boot of an agent until `shutdown` is cancelled. The next boot resumes the teardowns
/// that the shutdown interrupted.
///
/// # Errors
/// If the ledger cannot be used, the agent cannot subscribe to its commands, or the NATS client was
/// closed.
pub async fn run<R: Runtime, L: Ledger>(
    parts: AgentParts<R, L>,
    shutdown: CancellationToken,
) -> Result<(), AgentError> {
    let Some(started) = shutdown.run_until_cancelled(Agent::start(parts)).await else {
        return Ok(());
    };
    let mut agent = started?;
    while let Some(event) = shutdown.run_until_cancelled(agent.next_event()).await {
        agent.handle_event(event?).await?;
    }
    Ok(())
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Agent<R, L> {
    host: HostId,
    machine: Machine,
    /// `None` only while the ledger is being written, and after a write has failed.
    ledger: Option<L>,
    runtime: Arc<R>,
    connection: Connection,
    /// The number of the NATS connection that the machine was last notified of, or `None` while the
    /// connection is down.
    session: Option<u64>,
    commands: Subscriber,
    replies: Subscriber,
    inbox: String,
    subjects: Subjects,
    inventory_changes: watch::Receiver<u64>,
    progress_sender: mpsc::Sender<Progress>,
    progress: mpsc::Receiver<Progress>,
    /// The running teardowns. Each yields `Input::Finished`.
    teardowns: FuturesUnordered<BoxFuture<Input>>,
    reading: Option<BoxFuture<Result<Inventory, RuntimeError>>>,
    /// The time of the next check that the ledger is in place.
    ledger_check: Instant,
    /// The zero point of the machine's monotonic clock.
    started_at: Instant,
    counters: Arc<Counters>,
    spans: Spans,
    malformed: MalformedLog,
    /// The reasons for which an ignored command has already been logged. Each reason is logged only
    /// once.
    logged_reasons: HashSet<Discriminant<IgnoreReason>>,
}

struct Subjects {
    heartbeat: Subject,
    results: Subject,
    progress: Subject,
}

enum Event {
    LedgerCheck,
    ConnectionChanged,
    Command(Message),
    Reply(Message),
    Machine(Input),
}

impl<R: Runtime, L: Ledger> Agent<R, L> {
    async fn start(parts: AgentParts<R, L>) -> Result<Self, AgentError> {
        let AgentParts {
            settings,
            connection,
            runtime,
            ledger,
            counters,
        } = parts;
        let (ledger, entries) = access_ledger(ledger, Ledger::load).await?;
        let started_at = Instant::now();
        let config = Config {
            host: settings.host.clone(),
            boot_id: BootId(Uuid::now_v7()),
            version: settings.version,
            interval_ms: settings.interval_ms,
            seed: settings.seed,
            concurrency: settings.concurrency,
        };
        let host = settings.host;
        let inbox = subjects::agent_inbox_prefix(&host);
        let inbox = format!("{inbox}.{}", Uuid::now_v7().simple());
        let subscribe = |subject: String| {
            let (client, host) = (connection.client().clone(), host.clone());
            async move {
                let subscribed = client.subscribe(subject).await;
                subscribed.map_err(|cause| AgentError::Subscribe { host, cause })
            }
        };
        let commands = subscribe(AgentChannel::Commands.subject(&host)).await?;
        let replies = subscribe(format!("{inbox}.*")).await?;
        let (machine, step) = Machine::start(config, entries, read_clocks(started_at));
        let (progress_sender, progress) = mpsc::channel(PROGRESS_CAPACITY);
        let mut agent = Self {
            machine,
            ledger: Some(ledger),
            inventory_changes: runtime.changes(),
            runtime,
            connection,
            session: None,
            commands,
            replies,
            inbox,
            subjects: Subjects {
                heartbeat: AgentChannel::Heartbeat.subject(&host).into(),
                results: AgentChannel::Results.subject(&host).into(),
                progress: AgentChannel::Progress.subject(&host).into(),
            },
            progress_sender,
            progress,
            teardowns: FuturesUnordered::new(),
            reading: None,
            ledger_check: started_at + LEDGER_CHECK_INTERVAL,
            started_at,
            counters,
            spans: Spans::default(),
            malformed: MalformedLog::default(),
            logged_reasons: HashSet::new(),
            host,
        };
        for (operation_id, not_after) in agent.machine.unrecorded() {
            agent.runtime.restore_unrecorded(operation_id, not_after);
        }
        agent.apply(step).await?;
        agent.handle_event(Event::ConnectionChanged).await?;
        Ok(agent)
    }

    /// Waits for the next event. No event is lost when the future is dropped.
    async fn next_event(&mut self) -> Result<Event, AgentError> {
        let deadline = self.started_at + Duration::from_millis(self.machine.next_deadline());
        let input = tokio::select! {
            () = self.connection.wait_for_change() => return Ok(Event::ConnectionChanged),
            message = self.commands.next() => {
                return message.map(Event::Command).ok_or(AgentError::Closed);
            }
            message = self.replies.next() => {
                return message.map(Event::Reply).ok_or(AgentError::Closed);
            }
            Some(progress) = self.progress.recv() => Input::Progress(progress),
            Some(finished) = self.teardowns.next() => finished,
            inventory = poll_pending(&mut self.reading) => Input::InventoryRead(inventory),
            Ok(()) = self.inventory_changes.changed() => Input::InventoryChanged,
            () = tokio::time::sleep_until(deadline) => Input::Tick,
            () = tokio::time::sleep_until(self.ledger_check) => return Ok(Event::LedgerCheck),
        };
        Ok(Event::Machine(input))
    }

    async fn handle_event(&mut self, event: Event) -> Result<(), AgentError> {
        if matches!(event, Event::LedgerCheck) {
            self.check_ledger().await?;
        }
        let session = self.connection.session();
        if session != self.session {
            if self.session.is_some() {
                self.handle_input(Input::Disconnected).await?;
            }
            self.session = session;
            if session.is_some() {
                if let Err(error) = check_max_payload(self.connection.client().max_payload()) {
                    tracing::error!(host_uuid = %self.host, "{error}");
                }
                self.handle_input(Input::Connected).await?;
            }
        }
        let input = match event {
            Event::Machine(input) => Some(input),
            Event::Command(message) if session.is_some() => {
                let decoded = decode_command(&message);
                self.record_malformed(decoded.as_ref().err().copied(), &message);
                decoded.ok()
            }
            Event::Reply(message) if session.is_some() => {
                let (input, malformed) = decode_reply(&message);
                self.record_malformed(malformed, &message);
                input
            }
            Event::LedgerCheck | Event::ConnectionChanged | Event::Command(_) | Event::Reply(_) => {
                None
            }
        };
        match input {
            Some(input) => self.handle_input(input).await,
            None => Ok(()),
        }
    }

    async fn handle_input(&mut self, input: Input) -> Result<(), AgentError> {
        self.spans.observe_input(&input);
        let max_payload = self.connection.client().max_payload();
        self.machine.set_max_payload(max_payload);
        let step = self.machine.handle(read_clocks(self.started_at), input);
        self.apply(step).await
    }

    /// Makes the writes of a step durable, then carries out its effects.
    async fn apply(&mut self, step: Step) -> Result<(), AgentError> {
        if !step.writes.is_empty() {
            self.make_durable(step.writes).await?;
        }
        for effect in step.effects {
            self.carry_out(effect).await;
        }
        Ok(())
    }

    async fn make_durable(&mut self, writes: Vec<Entry>) -> Result<(), AgentError> {
        let ledger = self.ledger.take().ok_or(AgentError::Closed)?;
        let append = move |ledger: &mut L| {
            let is_in_place = ledger.is_in_place()?;
            if is_in_place {
                ledger.append(&writes)?;
            }
            Ok(is_in_place)
        };
        let (mut ledger, is_appended) = access_ledger(ledger, append).await?;
        if !is_appended {
            ledger = self.recreate(ledger).await?;
        } else if ledger.needs_rewrite() {
            let entries = self.machine.ledger_entries();
            (ledger, ()) = access_ledger(ledger, move |ledger| ledger.rewrite(&entries)).await?;
        }
        self.ledger = Some(ledger);
        Ok(())
    }

    /// Recreates the ledger if it was removed.
    async fn check_ledger(&mut self) -> Result<(), AgentError> {
        self.ledger_check = Instant::now() + LEDGER_CHECK_INTERVAL;
        let ledger = self.ledger.take().ok_or(AgentError::Closed)?;
        let (mut ledger, is_in_place) = access_ledger(ledger, Ledger::is_in_place).await?;
        if !is_in_place {
            ledger = self.recreate(ledger).await?;
        }
        self.ledger = Some(ledger);
        Ok(())
    }

    /// Recreates a removed ledger from the state in memory, which includes the latest step, and
    /// adds a note about that to the host's notes.
    async fn recreate(&mut self, ledger: L) -> Result<L, AgentError> {
        let entries = self.machine.ledger_entries();
        let (ledger, ()) = access_ledger(ledger, move |ledger| ledger.recreate(&entries)).await?;
        let note = format!(
            "at {}, the agent's ledger was missing; the agent wrote it again from memory",
            wall_clock()
        );
        self.machine.set_agent_note(Note::from(note.as_str()));
        Ok(ledger)
    }

    async fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Emit(event) => self.emit(event),
            Effect::ReadInventory => {
                let runtime = self.runtime.clone();
                self.reading = Some(Box::pin(async move { runtime.inventory().await }));
            }
            Effect::StartTeardown {
                teardown,
                traceparent,
            } => {
                self.spans
                    .start_teardown(&self.host, &teardown, traceparent.as_deref());
                let runtime = self.runtime.clone();
                let operation_id = teardown.operation_id;
                let progress = ProgressSink::new(operation_id, self.progress_sender.clone());
                self.teardowns.push(Box::pin(async move {
                    let report = runtime.teardown(teardown, progress).await;
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
                let outgoing = Outgoing {
                    subject: &self.subjects.progress,
                    reply_to: None,
                    traceparent,
                    message: &message,
                };
                self.connection.publish(&self.host, outgoing).await;
            }
            Effect::RequestResult {
                message,
                traceparent,
            } => {
                Counters::increment(&self.counters.results_sent);
                let id = message.operation_id;
                let outgoing = Outgoing {
                    subject: &self.subjects.results,
                    reply_to: Some(self.reply_subject(RequestId::Result(id))),
                    traceparent: self.spans.result_context(id, traceparent),
                    message: &message,
                };
                self.connection.publish(&self.host, outgoing).await;
            }
            Effect::RequestHeartbeat(message) => {
                Counters::increment(&self.counters.heartbeats_sent);
                let Heartbeat { sequence, page, .. } = message;
                let request = RequestId::Heartbeat(HeartbeatPage { sequence, page });
                let outgoing = Outgoing {
                    subject: &self.subjects.heartbeat,
                    reply_to: Some(self.reply_subject(request)),
                    traceparent: None,
                    message: &message,
                };
                self.connection.publish(&self.host, outgoing).await;
            }
        }
    }

    /// Counts and logs an event. For each reason, only the first ignored command is logged, so that
    /// no sender can flood the log.
    fn emit(&mut self, event: AgentEvent) {
        let is_new = match &event {
            AgentEvent::CommandIgnored(reason) => self.logged_reasons.insert(discriminant(reason)),
            _ => true,
        };
        self.counters.count_event(&event);
        self.spans.observe_event(&event);
        if let AgentEvent::ResultRecorded { operation_id, .. } = &event {
            self.runtime.end_operation(*operation_id);
        }
        if is_new {
            log_event(&self.host, event);
        }
    }

    fn reply_subject(&self, request: RequestId) -> String {
        format!("{}.{request}", self.inbox)
    }

    fn record_malformed(&mut self, kind: Option<MalformedMessage>, message: &Message) {
        if let Some(kind) = kind {
            let bytes = message.payload.len();
            self.malformed
                .record(&self.host, &self.counters, kind, bytes);
        }
    }
}

/// Waits for the future in `slot`, then empties the slot. Waits forever if the slot is empty.
async fn poll_pending<T>(slot: &mut Option<BoxFuture<T>>) -> T {
    let output = match slot {
        Some(future) => future.await,
        None => pending().await,
    };
    *slot = None;
    output
}

/// Runs `access` on the ledger, on a thread for blocking work if the ledger needs one. Returns the
/// ledger together with the result of `access`.
async fn access_ledger<L: Ledger, T: Send + 'static>(
    mut ledger: L,
    access: impl FnOnce(&mut L) -> Result<T, LedgerError> + Send + 'static,
) -> Result<(L, T), AgentError> {
    if !ledger.is_blocking() {
        let value = access(&mut ledger)?;
        return Ok((ledger, value));
    }
    tokio::task::spawn_blocking(move || {
        let value = access(&mut ledger)?;
        Ok((ledger, value))
    })
    .await?
}

fn read_clocks(started_at: Instant) -> Now {
    Now {
        monotonic_ms: started_at.elapsed().as_millis() as u64,
        wall: wall_clock(),
    }
}
