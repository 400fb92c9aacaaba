//! Waiting until operations have ended: by what is told of them, and by asking where something may not have been heard. Who
//! shows it is `progress`.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;
use futures_util::future::join_all;
use scuttle_schemas::operations::{OperationRecord, OperationsListRequest, OperationsUpdated};
use scuttle_schemas::{OperationId, ReadError, Timestamp, read, subjects};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::ask::{AskError, Bus, Sign};
use crate::failure::Failure;
use crate::mirror::is_missed;
use crate::progress::{Progress, TICK};
use crate::{lists, look};

/// Each subject is heard every 5 s at the latest: so long without any, and it is asked.
const SILENCE: Duration = Duration::from_secs(12);

/// A few are asked after the agent's steps, which no broadcast tells; at most so many, so often.
const FEW: usize = 20;
const STEPS: Duration = Duration::from_secs(2);

/// Until what was not answered is asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// So long after a deadline, in milliseconds, the controller has ended the operation: if that is not heard, nothing will be.
const GRACE: i64 = 30_000;

/// What a signal's exit code is, for SIGINT.
const INTERRUPTED: u8 = 130;

/// The operations that are waited for.
struct Follow<'a> {
    bus: &'a Bus,
    progress: &'a mut Progress,
    operations: BTreeMap<OperationId, OperationRecord>,
    /// The last revision that was told or listed.
    revision: u64,
}

/// Waits until all of these have ended, and gives each, whole.
///
/// # Errors
/// One is not known, or no end is heard long after its deadline. Ctrl-C ends the waiting, and nothing else.
pub(crate) async fn follow(
    bus: &Bus,
    ids: &[OperationId],
    progress: &mut Progress,
) -> Result<BTreeMap<OperationId, OperationRecord>, Failure> {
    let mut told = bus.subscribe(subjects::OPERATIONS_UPDATED).await?;
    let mut follow = Follow {
        bus,
        progress,
        operations: BTreeMap::new(),
        revision: 0,
    };
    tokio::select! {
        done = follow.until_the_end(ids, &mut told) => done?,
        _ = tokio::signal::ctrl_c() => {
            follow.progress.leave();
            interrupted(ids);
            return Err(Failure::Told(INTERRUPTED));
        }
    }
    follow.progress.clear();
    Ok(follow.operations)
}

impl Follow<'_> {
    async fn until_the_end(
        &mut self,
        ids: &[OperationId],
        told: &mut Subscriber,
    ) -> Result<(), Failure> {
        let mut signs = self.bus.signs();
        self.look(ids).await?;
        let mut due = Instant::now() + STEPS;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            let open = self.open();
            if open.is_empty() {
                return Ok(());
            }
            let ask = tokio::select! {
                message = told.next() => {
                    let message = message.ok_or_else(closed)?;
                    self.told(&message.payload).unwrap_or_else(|error| {
                        self.progress.say(&error.to_string());
                        open
                    })
                }
                sign = signs.recv() => match sign {
                    Ok(Sign::Lost) => {
                        self.progress.say("The connection is lost, and sought again; the teardown goes on.");
                        continue;
                    }
                    Ok(Sign::Complaint(_)) => continue,
                    Ok(Sign::Back) | Err(_) => open,
                },
                () = sleep_until(due) => {
                    due = Instant::now() + if open.len() <= FEW { STEPS } else { SILENCE };
                    open
                }
                _ = ticks.tick() => {
                    self.progress.tick();
                    continue;
                }
            };
            if ask.is_empty() {
                continue;
            }
            if let Err(error) = self.look(&ask).await {
                if error.code().is_some() {
                    return Err(error.into());
                }
                self.give_up(look::now())?;
                self.progress
                    .say(&format!("{error}; the teardown goes on."));
                due = Instant::now() + PAUSE;
            }
        }
    }

    /// Asks how these are.
    async fn look(&mut self, ids: &[OperationId]) -> Result<(), AskError> {
        let newest = OperationsListRequest {
            limit: 1.try_into().unwrap_or_default(),
            ..OperationsListRequest::default()
        };
        self.revision = lists::operations(self.bus, newest, 1).await?.revision;
        for asked in join_all(ids.iter().map(|id| lists::operation(self.bus, *id))).await {
            let operation = asked?;
            self.progress.show(&operation);
            self.operations.insert(operation.operation_id, operation);
        }
        Ok(())
    }

    /// Takes in a broadcast; which are to be asked: all where something was missed, else those that changed, since what became of
    /// their deckies is not in a broadcast.
    fn told(&mut self, payload: &[u8]) -> Result<Vec<OperationId>, ReadError> {
        let told: OperationsUpdated = read("broadcast", payload)?;
        let repeats = told.updated.is_empty();
        let missed = is_missed(self.revision, told.revision, repeats);
        self.revision = self.revision.max(told.revision);
        if missed {
            return Ok(self.open());
        }
        let changed = told.updated.iter().map(|operation| operation.operation_id);
        Ok(changed
            .filter(|id| self.operations.contains_key(id))
            .collect())
    }

    fn open(&self) -> Vec<OperationId> {
        let open = |operation: &&OperationRecord| operation.finished_at.is_none();
        let open = self.operations.values().filter(open);
        open.map(|operation| operation.operation_id).collect()
    }

    /// Nobody answers: after every deadline there is nothing to wait for any more.
    fn give_up(&self, now: Timestamp) -> Result<(), Failure> {
        let open = self.open();
        let late = |id: &OperationId| now.millis_since(self.operations[id].deadline) > GRACE;
        if !open.iter().all(late) {
            return Ok(());
        }
        self.progress.clear();
        let ids: Vec<_> = open.iter().map(ToString::to_string).collect();
        eprintln!(
            "scuttle: nothing is heard of {} though its deadline has passed: start scuttle-controller, then `scuttle op ID`",
            ids.join(", ")
        );
        Err(Failure::Told(5))
    }
}

fn interrupted(ids: &[OperationId]) {
    let which = if ids.len() == 1 {
        "teardown goes"
    } else {
        "teardowns go"
    };
    eprintln!("\nNo longer waiting; the {which} on. Follow with");
    for id in ids {
        eprintln!("  scuttle op {id}");
    }
}

fn closed() -> AskError {
    AskError::Broken {
        subject: subjects::OPERATIONS_UPDATED.to_owned(),
        cause: "the connection is closed".to_owned(),
    }
}
