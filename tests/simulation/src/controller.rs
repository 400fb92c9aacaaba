//! The controller's process: the real state, engine halves and store, fed one event at a time. Deciding and
//! committing are events of their own, so that batches wait undurable, and a crash can come in between.

use std::collections::VecDeque;
use std::path::Path;

use async_nats::{Message, Subject};
use scuttle_controller::encoder::Encoder;
use scuttle_controller::endpoint::{self, Endpoint};
use scuttle_controller::engine::{self, Decided, Job, Told, Uncommitted};
use scuttle_controller::outbound;
use scuttle_controller::store::{RedbStore, Store, StoreError};
use scuttle_core::{Change, Input, ReplayError, Reply, State};
use scuttle_schemas::{OperationId, Timestamp, headers, subjects};
use uuid::Uuid;

use crate::chance::Chance;
use crate::disk::Disk;
use crate::network::{Link, message};
use crate::oracle::{Oracle, Report};
use crate::world::{Event, World, note};

/// How many decided batches wait for the disk at the most, as in the engine.
const UNDURABLE: usize = 4;

/// Bytes of messages that are encoded into one piece of memory.
const BUFFER: usize = 16 << 10;

/// Who asked, and for what.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    reply: Option<Subject>,
    pub(crate) subject: String,
    /// The operation of a result.
    pub(crate) operation: Option<OperationId>,
    /// Who asked with which idempotency key.
    pub(crate) key: Option<(String, String)>,
}

pub(crate) struct Controller {
    pub(crate) disk: Disk,
    pub(crate) process: Option<Process>,
    /// Counts the processes.
    started: u64,
    pub(crate) link_up: bool,
    pub(crate) clock: i64,
    encoder: Encoder,
}

/// One run of the controller.
pub(crate) struct Process {
    pub(crate) state: State,
    store: RedbStore,
    inbox: VecDeque<Job<Asker>>,
    undurable: VecDeque<Decided<Asker>>,
    deciding: bool,
    committing: bool,
    wakes: u64,
    last_id: u128,
}

/// A store that shows what is appended.
struct Tapped<'s> {
    store: &'s mut RedbStore,
    appended: Vec<Change>,
}

impl Store for Tapped<'_> {
    fn load(
        &mut self,
        each: &mut dyn FnMut(Change) -> Result<(), ReplayError>,
    ) -> Result<(), StoreError> {
        self.store.load(each)
    }
    fn append(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        self.appended.extend_from_slice(changes);
        self.store.append(changes)
    }
    fn checkpoint(&mut self, changes: usize) -> Result<usize, StoreError> {
        self.store.checkpoint(changes)
    }
    fn journal_len(&self) -> usize {
        self.store.journal_len()
    }
}

impl Controller {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        Self {
            disk: Disk::with_new_store(),
            process: None,
            started: 0,
            link_up: true,
            clock: chance.below(120_001).cast_signed() - 60_000,
            encoder: Encoder::new(BUFFER),
        }
    }
}

/// A `UUIDv7` of this time, later than the last one of the same process.
pub(crate) fn uuid7(at: Timestamp, last: &mut u128, chance: &mut Chance) -> Uuid {
    let millis = u128::from(at.as_millis().cast_unsigned());
    let random = u128::from(chance.draw() >> 2);
    let fresh = (millis << 80) | (7 << 76) | (2 << 62) | random;
    // The next one has its 12 bits beside the milliseconds one higher, as a counter.
    *last = fresh.max(*last + (1 << 64));
    Uuid::from_u128(*last)
}

impl World {
    pub(crate) fn controller_now(&self) -> Timestamp {
        self.wall(self.controller.clock)
    }

    pub(crate) fn start_controller(&mut self) {
        if self.controller.process.is_some() {
            return;
        }
        let opened = RedbStore::over(self.controller.disk.open(), Path::new("simulated"));
        let loaded = opened.and_then(|mut store| {
            let state = engine::load(&mut store)?;
            let mut rows = Vec::new();
            store.load(&mut |change| {
                rows.push(change);
                Ok(())
            })?;
            Ok((store, state, rows))
        });
        let (store, state, rows) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                note!(self, "controller cannot start: {error}");
                let full = matches!(&error, StoreError::Io { cause, .. }
                    if cause.kind() == std::io::ErrorKind::StorageFull);
                if !full {
                    let broken = Oracle::unreadable(&error);
                    self.check(broken);
                }
                self.controller.disk.kill();
                self.after(1_000, Event::StartController);
                return;
            }
        };
        self.controller.started += 1;
        note!(self, "controller starts, {:?}", state.size());
        let checked = self.oracle.restarted(&rows);
        self.check(checked);
        self.controller.process = Some(Process {
            state,
            store,
            inbox: VecDeque::from([Job {
                input: Input::Start,
                requester: None,
            }]),
            undurable: VecDeque::new(),
            deciding: false,
            committing: false,
            wakes: 0,
            last_id: 0,
        });
        let process = self.controller.started;
        self.decide(process);
    }

    /// Ends the process as a kill does, or a loss of power; another starts later.
    pub(crate) fn end_controller(&mut self, power: bool) {
        let Some(process) = self.controller.process.take() else {
            return;
        };
        note!(
            self,
            "controller ends{}",
            if power { ": power lost" } else { "" }
        );
        if power {
            self.counts.power_losses += 1;
            self.controller.disk.lose_power(&mut self.chance);
        } else {
            self.counts.crashes += 1;
            self.controller.disk.kill();
        }
        drop(process);
        let most = if self.healed { 100 } else { 15_000 };
        let wait = self.chance.below(most);
        self.after(wait, Event::StartController);
    }

    /// Ends the process as a shutdown does: what has come is decided and told.
    pub(crate) fn stop_controller(&mut self) {
        let number = self.controller.started;
        let now = self.controller_now();
        if let Some(process) = &mut self.controller.process {
            let jobs: Vec<_> = process.inbox.drain(..).collect();
            let batch = engine::decide(&mut process.state, jobs.into_iter(), now);
            process.undurable.push_back(batch);
        }
        while self
            .controller
            .process
            .as_ref()
            .is_some_and(|process| !process.undurable.is_empty())
        {
            self.commit(number);
        }
        let Some(mut process) = self.controller.process.take() else {
            return;
        };
        while process.store.journal_len() > 0 && process.store.checkpoint(1_000).is_ok() {}
        note!(self, "controller stops");
        drop(process);
        let wait = self.chance.below(5_000);
        self.after(wait, Event::StartController);
    }

    pub(crate) fn controller_receives(&mut self, message: &Message) {
        let now = self.controller_now();
        let Some(process) = &mut self.controller.process else {
            return;
        };
        let user = endpoint::requester(message).unwrap_or_default();
        let key = header(message, headers::MSG_ID).map(|key| (user, key.to_owned()));
        let mut asker = Asker {
            reply: message.reply.clone(),
            subject: message.subject.to_string(),
            operation: None,
            key,
        };
        let read = if message.subject.ends_with(".progress") {
            endpoint::read_progress(message)
        } else {
            let serving = Endpoint::ALL
                .into_iter()
                .find(|endpoint| serves(*endpoint, &message.subject));
            let Some(endpoint) = serving else { return };
            let (last, chance) = (&mut process.last_id, &mut self.chance);
            endpoint.read(message, || uuid7(now, last, chance))
        };
        match read {
            Ok(input) => {
                let report = Report::of(&input);
                asker.operation = match &input {
                    Input::Result { result, .. } => Some(result.operation_id),
                    _ => None,
                };
                let requester = asker.reply.is_some().then_some(asker);
                process.inbox.push_back(Job { input, requester });
                if let Some(report) = report {
                    let at = self.now;
                    self.oracle.delivered(report, at);
                }
                self.decide_soon();
            }
            Err(endpoint::Rejected { refusal, .. }) => {
                note!(self, "refused: {}", refusal.message);
                self.answer(&asker, &Reply::Refused(refusal));
            }
        }
    }

    fn decide_soon(&mut self) {
        let wait = self.chance.below(4);
        let number = self.controller.started;
        if let Some(process) = &mut self.controller.process
            && !process.deciding
            && process.undurable.len() < UNDURABLE
        {
            process.deciding = true;
            self.after(wait, Event::Decide(number));
        }
    }

    pub(crate) fn wake(&mut self, number: u64, wake: u64) {
        if let Some(process) = &self.controller.process
            && process.wakes == wake
        {
            self.decide(number);
        }
    }

    pub(crate) fn decide(&mut self, number: u64) {
        let now = self.controller_now();
        if number != self.controller.started {
            return;
        }
        let Some(process) = &mut self.controller.process else {
            return;
        };
        process.deciding = false;
        if process.undurable.len() >= UNDURABLE {
            return;
        }
        let most = process.inbox.len() as u64;
        let taken = if most == 0 {
            0
        } else {
            self.chance.within(1, most)
        };
        let jobs: Vec<_> = process.inbox.drain(..taken as usize).collect();
        let batch = engine::decide(&mut process.state, jobs.into_iter(), now);
        if !batch.is_empty() {
            process.undurable.push_back(batch);
        }
        let more = !process.inbox.is_empty();
        process.wakes += 1;
        let wake = Event::Wake(number, process.wakes);
        let patience = engine::patience(&process.state, now).as_millis() as u64;
        let commit = !process.undurable.is_empty() && !process.committing;
        process.committing |= commit;
        self.after(patience.max(1), wake);
        if commit {
            let wait = self.chance.within(1, self.plan.fsync_ms);
            self.after(wait, Event::Commit(number));
        }
        if more {
            self.decide_soon();
        }
    }

    pub(crate) fn commit(&mut self, number: u64) {
        if number != self.controller.started {
            return;
        }
        let Some(process) = &mut self.controller.process else {
            return;
        };
        process.committing = false;
        let Some(last) = (process.undurable.len() as u64).checked_sub(1) else {
            return;
        };
        let taken = 1 + self.chance.below(last + 1) as usize;
        let batches: Vec<_> = process.undurable.drain(..taken).collect();
        let mut tapped = Tapped {
            store: &mut process.store,
            appended: Vec::new(),
        };
        let committed = engine::commit(&mut tapped, batches.into_iter());
        let appended = tapped.appended;
        let told = match committed {
            Ok(told) => told,
            Err(Uncommitted { error, .. }) => {
                note!(self, "commit failed: {error}");
                self.oracle.unsure(appended);
                let power = self.chance.happens(500);
                self.end_controller(power);
                return;
            }
        };
        let checkpointed = if self.chance.happens(60) {
            process
                .store
                .checkpoint(self.chance.within(1, 40) as usize)
                .is_ok()
        } else {
            true
        };
        let waiting = !process.undurable.is_empty();
        process.committing = waiting;
        if waiting {
            let wait = self.chance.within(1, self.plan.fsync_ms);
            self.after(wait, Event::Commit(number));
        }
        let checked = self.oracle.appended(&appended, self.now);
        self.check(checked);
        self.tell(told);
        self.decide_soon();
        if !checkpointed {
            let power = self.chance.happens(500);
            self.end_controller(power);
        }
    }

    /// Replies, then effects: as outbound does. A crash may come between any two.
    fn tell(&mut self, told: Vec<Told<Asker>>) {
        let cut = !self.healed && self.plan.dies() && self.chance.happens(15);
        let mut left = if cut { self.chance.below(4) } else { u64::MAX };
        let (replies, effects): (Vec<_>, Vec<_>) = told
            .into_iter()
            .map(|told| (told.replies, told.effects))
            .unzip();
        for (asker, reply) in replies.into_iter().flatten() {
            if left == 0 {
                break;
            }
            left -= 1;
            self.answer(&asker, &reply);
        }
        for effect in effects.into_iter().flatten() {
            if left == 0 {
                break;
            }
            left -= 1;
            let checked = self.oracle.told(&effect);
            self.check(checked);
            let leaves = outbound::outgoing(&mut self.controller.encoder, effect);
            note!(
                self,
                "publish {}: {}",
                leaves.subject,
                String::from_utf8_lossy(&leaves.payload)
            );
            let leaving = message(&leaves.subject, None, leaves.headers, leaves.payload);
            self.send(Link::Controller, &leaving);
        }
        if left == 0 {
            let power = self.chance.happens(500);
            self.end_controller(power);
        }
    }

    fn answer(&mut self, asker: &Asker, reply: &Reply) {
        let checked = self.oracle.answered(asker, reply, &mut self.counts);
        self.check(checked);
        let Some(inbox) = &asker.reply else { return };
        if !subjects::may_be_answered(inbox) {
            return;
        }
        let (headers, payload) = outbound::answer(&mut self.controller.encoder, reply);
        note!(
            self,
            "answer  {}: {}",
            asker.subject,
            String::from_utf8_lossy(&payload)
        );
        self.send(Link::Controller, &message(inbox, None, headers, payload));
    }
}

fn serves(endpoint: Endpoint, subject: &str) -> bool {
    let serves = endpoint.subject();
    match serves.split_once('*') {
        Some((head, tail)) => subject.starts_with(head) && subject.ends_with(tail),
        None => serves == subject,
    }
}

fn header<'m>(message: &'m Message, name: &str) -> Option<&'m str> {
    let value = message.headers.as_ref()?.get(name)?;
    Some(value.as_str())
}
