//! Waits for operations to end.
//!
//! Broadcasts report when an operation changes, but omit its progress and the outcomes of its
//! shards. The controller is therefore polled for both. It is also polled whenever a broadcast may
//! have been missed. `output::progress` shows the progress.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;
use futures_util::future::join_all;
use scuttle_schemas::operations::{OperationRecord, OperationsUpdated};
use scuttle_schemas::{OperationId, ReadError, Timestamp, read, subjects};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::client::client_error::ClientError;
use crate::client::lists::{self, OperationsFilter};
use crate::client::nats_client::{Client, ConnectionEvent};
use crate::client::replica_view::is_gap;
use crate::clock;
use crate::failure::Failure;
use crate::output::progress::{Progress, TICK_INTERVAL};

/// The poll interval for more than [`MAX_FAST_POLLED`] open operations. The controller sends a
/// message on each broadcast subject at least every 5 s, so a gap is normally noticed before the
/// poll.
const SLOW_POLL_INTERVAL: Duration = Duration::from_secs(12);

/// The poll interval for at most [`MAX_FAST_POLLED`] open operations. Polling is the only way to
/// see an agent's progress, which is not broadcast.
const FAST_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// The maximum number of open operations that are polled at the fast interval.
const MAX_FAST_POLLED: usize = 20;

/// The delay between a failed poll and the next poll.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// The grace period after an operation's deadline, in milliseconds. A working controller ends the
/// operation within this period, so waiting longer is pointless.
const DEADLINE_GRACE_MS: i64 = 30_000;

/// The conventional exit code of a process that was ended by SIGINT.
const SIGINT_EXIT_CODE: u8 = 130;
/// The conventional exit code of a process that was ended by SIGTERM.
const SIGTERM_EXIT_CODE: u8 = 143;

/// Called once with each operation that has ended, as soon as that is known.
pub(super) type OnEnd<'a> = &'a mut dyn FnMut(&OperationRecord) -> Result<(), Failure>;

/// The operations to wait for.
pub(super) struct Awaited<'a> {
    pub(super) ids: &'a [OperationId],
    /// The maximum time to wait. `None` waits until the operations end.
    pub(super) limit: Option<Duration>,
}

struct Waiter<'a> {
    client: &'a Client,
    progress: &'a mut Progress,
    operations: BTreeMap<OperationId, OperationRecord>,
    on_end: OnEnd<'a>,
    /// The operations that were passed to `on_end`.
    reported: BTreeSet<OperationId>,
    /// The last revision that was broadcast or listed.
    revision: u64,
}

/// Waits until all operations have ended, and returns them with the outcomes of their shards. Calls
/// `on_end` with each of them when it ends.
///
/// Ctrl-C and SIGTERM stop waiting and leave the operations running.
///
/// # Errors
///
/// Fails in these cases:
///
/// - The subscription or the first poll fails, or the connection is closed.
/// - The controller rejects a request, for example because an operation does not exist.
/// - `on_end` fails.
/// - A poll gets no reply, and all deadlines passed more than [`DEADLINE_GRACE_MS`] ago.
/// - The limit of the time to wait has passed.
/// - The process receives SIGINT (Ctrl-C) or SIGTERM.
pub(super) async fn wait_for_operations(
    client: &Client,
    awaited: Awaited<'_>,
    progress: &mut Progress,
    on_end: OnEnd<'_>,
) -> Result<BTreeMap<OperationId, OperationRecord>, Failure> {
    let Awaited { ids, limit } = awaited;
    let mut broadcasts = client.subscribe(subjects::OPERATIONS_UPDATED).await?;
    let mut waiter = Waiter {
        client,
        progress,
        operations: BTreeMap::new(),
        on_end,
        reported: BTreeSet::new(),
        revision: 0,
    };
    tokio::select! {
        result = waiter.run(ids, &mut broadcasts) => result?,
        code = interrupted() => {
            waiter.progress.freeze();
            report_interrupt(ids);
            return Err(Failure::AlreadyReported(code));
        }
        limit = pass(limit) => {
            waiter.progress.freeze();
            report_limit(limit, &waiter.open_operations());
            return Err(Failure::AlreadyReported(5));
        }
    }
    waiter.progress.clear();
    Ok(waiter.operations)
}

impl Waiter<'_> {
    async fn run(
        &mut self,
        ids: &[OperationId],
        broadcasts: &mut Subscriber,
    ) -> Result<(), Failure> {
        let mut events = self.client.events();
        self.poll(ids).await?;
        let mut next_poll = Instant::now() + FAST_POLL_INTERVAL;
        let mut ticks = interval(TICK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            self.report_ended()?;
            let open = self.open_operations();
            if open.is_empty() {
                return Ok(());
            }
            let to_poll = tokio::select! {
                message = broadcasts.next() => {
                    let message = message.ok_or_else(connection_closed)?;
                    self.apply_broadcast(&message.payload).unwrap_or_else(|error| {
                        self.progress.print_message(&error.to_string());
                        open
                    })
                }
                event = events.recv() => match event {
                    Ok(ConnectionEvent::Disconnected) => {
                        self.progress.print_message(
                            "Connection lost, reconnecting; the teardown continues.",
                        );
                        continue;
                    }
                    Ok(ConnectionEvent::ServerError(_)) => continue,
                    Ok(ConnectionEvent::Connected) | Err(_) => open,
                },
                () = sleep_until(next_poll) => {
                    next_poll = Instant::now() + if open.len() <= MAX_FAST_POLLED {
                        FAST_POLL_INTERVAL
                    } else {
                        SLOW_POLL_INTERVAL
                    };
                    open
                }
                _ = ticks.tick() => {
                    self.progress.tick();
                    continue;
                }
            };
            if to_poll.is_empty() {
                continue;
            }
            if let Err(error) = self.poll(&to_poll).await {
                if error.code().is_some() {
                    return Err(error.into());
                }
                self.fail_after_deadlines(clock::now())?;
                self.progress
                    .print_message(&format!("{error}; the teardown continues."));
                next_poll = Instant::now() + RETRY_DELAY;
            }
        }
    }

    /// Requests the current records of these operations, and shows their progress.
    async fn poll(&mut self, ids: &[OperationId]) -> Result<(), ClientError> {
        let all = OperationsFilter::default();
        self.revision = lists::list_operations(self.client, &all, 1).await?.revision;
        let requests = ids.iter().map(|id| lists::get_operation(self.client, *id));
        for operation in join_all(requests).await {
            let operation = operation?;
            self.progress.show(&operation);
            self.operations.insert(operation.operation_id, operation);
        }
        Ok(())
    }

    /// Applies a broadcast, and returns the operations to poll:
    ///
    /// - all open operations, if an earlier broadcast was missed
    /// - otherwise the changed operations, because a broadcast omits the outcomes of their shards
    fn apply_broadcast(&mut self, payload: &[u8]) -> Result<Vec<OperationId>, ReadError> {
        let broadcast: OperationsUpdated = read("broadcast", payload)?;
        let is_repeat = broadcast.updated.is_empty();
        let missed = is_gap(self.revision, broadcast.revision, is_repeat);
        self.revision = self.revision.max(broadcast.revision);
        if missed {
            return Ok(self.open_operations());
        }
        let changed = broadcast.updated.iter();
        let changed = changed.map(|operation| operation.operation_id);
        Ok(changed
            .filter(|id| self.operations.contains_key(id))
            .collect())
    }

    fn report_ended(&mut self) -> Result<(), Failure> {
        for (id, operation) in &self.operations {
            if operation.finished_at.is_some() && self.reported.insert(*id) {
                (self.on_end)(operation)?;
            }
        }
        Ok(())
    }

    fn open_operations(&self) -> Vec<OperationId> {
        let is_open = |operation: &&OperationRecord| operation.finished_at.is_none();
        let open = self.operations.values().filter(is_open);
        open.map(|operation| operation.operation_id).collect()
    }

    /// Fails if the deadline of every open operation passed more than [`DEADLINE_GRACE_MS`] ago.
    /// Called only after a poll has failed for a reason other than a rejection.
    fn fail_after_deadlines(&self, now: Timestamp) -> Result<(), Failure> {
        let open = self.open_operations();
        let is_overdue =
            |id: &OperationId| now.millis_since(self.operations[id].deadline) > DEADLINE_GRACE_MS;
        if !open.iter().all(is_overdue) {
            return Ok(());
        }
        self.progress.clear();
        let ids: Vec<_> = open.iter().map(ToString::to_string).collect();
        eprintln!(
            "scuttle: no news of {} after the deadline: start scuttle-controller, then run `scuttle op ID`",
            ids.join(", ")
        );
        Err(Failure::AlreadyReported(5))
    }
}

/// Waits until the process receives SIGINT or SIGTERM, and returns the conventional exit code for
/// that signal. If no handler for SIGTERM can be installed, waits for SIGINT only.
async fn interrupted() -> u8 {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => signals.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => SIGINT_EXIT_CODE,
        _ = terminated => SIGTERM_EXIT_CODE,
    }
}

/// Waits until the time has passed, and returns it. Never returns without a limit.
async fn pass(limit: Option<Duration>) -> Duration {
    match limit {
        Some(limit) => {
            tokio::time::sleep(limit).await;
            limit
        }
        None => std::future::pending().await,
    }
}

fn report_interrupt(ids: &[OperationId]) {
    eprintln!();
    report_continuing("Stopped waiting", ids);
}

fn report_limit(limit: Duration, open: &[OperationId]) {
    let seconds = limit.as_secs();
    report_continuing(&format!("Not ended within {seconds} s"), open);
}

/// Prints why the command waits no longer, and how to follow the operations.
fn report_continuing(reason: &str, ids: &[OperationId]) {
    let teardowns = if ids.len() == 1 {
        "teardown continues"
    } else {
        "teardowns continue"
    };
    eprintln!("{reason}; the {teardowns}. To see the progress, run:");
    for id in ids {
        eprintln!("  scuttle op {id}");
    }
}

fn connection_closed() -> ClientError {
    ClientError::Failed {
        subject: subjects::OPERATIONS_UPDATED.to_owned(),
        cause: "the connection is closed".to_owned(),
    }
}
