//! A controller's process: how it begins, what it receives, how it ends. One over a store of its own leads as long as it runs;
//! one of several follows until it leads (`lead`). What a leader does is in `term`.

use async_nats::Message;
use scuttle_controller::engine::{self, Job};
use scuttle_controller::outbound::encoder::Encoder;
use scuttle_controller::request::endpoint;
use scuttle_controller::store::{JournalError, Store, StoreError};
use scuttle_core::{Input, Reply, State};
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_schemas::{Timestamp, headers};
use uuid::Uuid;

use crate::chance::Chance;
use crate::disk::Disk;
use crate::divided::{gathered, served};
use crate::kept::Kept;
use crate::oracle::{Oracle, Report};
use crate::servers::Servers;
use crate::term::{Asker, Term};
use crate::world::{Event, World, note};

/// Bytes of messages that are encoded into one piece of memory.
const BUFFER: usize = 16 << 10;

pub(crate) struct Controller {
    pub(crate) disk: Disk,
    pub(crate) process: Option<Process>,
    /// Counts what begins with reading the store, so that what was to happen to the one before does not happen to the next.
    pub(crate) runs: u64,
    pub(crate) link_up: bool,
    pub(crate) clock: i64,
    /// The process is stopped, or was.
    pub(crate) pause: Pause,
    pub(crate) encoder: Encoder,
    /// When the last of what it told the first partition's leader comes there.
    pub(crate) told_until: u64,
}

/// When a process was stopped.
#[derive(Default)]
pub(crate) struct Pause {
    since: u64,
    /// It goes on then.
    pub(crate) until: u64,
    /// Its clock stood still as well, as that of a machine does that is stopped as a whole.
    with_clock: bool,
}

/// One run of a controller: from reading its store to the end of the process, or of its term.
pub(crate) struct Process {
    pub(crate) state: State,
    pub(crate) store: Kept,
    /// Until when the lease is its own, by its own view.
    pub(crate) lease: Option<u64>,
    /// What it has in hand, if it leads.
    pub(crate) term: Option<Term>,
}

impl Controller {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        Self {
            disk: Disk::with_new_store(),
            process: None,
            runs: 0,
            link_up: true,
            clock: chance.below(120_001).cast_signed() - 60_000,
            pause: Pause::default(),
            encoder: Encoder::new(BUFFER),
            told_until: 0,
        }
    }

    /// The process, if it is this run of it.
    pub(crate) fn run(&mut self, run: u64) -> Option<&mut Process> {
        self.process.as_mut().filter(|_| self.runs == run)
    }

    /// What it has in hand, if it leads.
    pub(crate) fn term(&mut self) -> Option<&mut Term> {
        self.process.as_mut()?.term.as_mut()
    }

    pub(crate) fn leads(&self) -> bool {
        (self.process.as_ref()).is_some_and(|process| process.term.is_some())
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

/// Whether this keeps a controller from starting for a while, and is no damage.
fn passes(error: &StoreError) -> bool {
    match error {
        StoreError::Io { cause, .. } => cause.kind() == std::io::ErrorKind::StorageFull,
        StoreError::Journal(JournalError::Refused { .. } | JournalError::Trimmed { .. }) => true,
        _ => false,
    }
}

impl World {
    pub(crate) fn controller_now(&self, controller: usize) -> Timestamp {
        self.wall(self.controllers[controller].clock)
    }

    pub(crate) fn start_controller(&mut self, controller: usize) {
        if self.controllers[controller].process.is_some() {
            return;
        }
        let journal = (self.servers.of(controller)).map(|servers| servers.journal(controller));
        let opened = Kept::open(&self.controllers[controller].disk, journal);
        let loaded = opened.and_then(|mut store| {
            let state = engine::load(&mut store)?;
            Ok((store, state))
        });
        let (mut store, state) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                note!(self, "controller {controller} cannot start: {error}");
                if !passes(&error) {
                    let broken = Oracle::unreadable(&error);
                    self.check(broken);
                }
                self.controllers[controller].disk.kill();
                self.fetch_rows(controller, &error);
                let wait = if self.healed { 1_000 } else { 3_000 };
                self.after(wait, Event::StartController(controller));
                return;
            }
        };
        note!(self, "controller {controller} starts, {:?}", state.size());
        let checked = self
            .oracle
            .of_controller(controller)
            .restarted(&store.take_loaded());
        self.check(checked);
        let place = &mut self.controllers[controller];
        place.runs += 1;
        place.process = Some(Process {
            state,
            store,
            lease: None,
            term: None,
        });
        let run = place.runs;
        match self.servers.of(controller) {
            None => self.lead(controller, run),
            Some(_) => self.look_at_lease(controller, run),
        }
    }

    /// Rows that end before the journal begins are replaced by somebody else's.
    fn fetch_rows(&mut self, controller: usize, error: &StoreError) {
        if let StoreError::Journal(JournalError::Trimmed { .. }) = error
            && let Some(rows) = self.servers.of(controller).and_then(Servers::snapshot)
        {
            self.controllers[controller].disk = rows;
        }
    }

    /// Ends the process as a kill does, or a loss of power; another starts later.
    pub(crate) fn end_controller(&mut self, controller: usize, power: bool) {
        let place = &mut self.controllers[controller];
        let Some(process) = place.process.take() else {
            return;
        };
        place.pause = Pause::default();
        if power {
            self.counts.power_losses += 1;
            place.disk.lose_power(&mut self.chance);
        } else {
            self.counts.crashes += 1;
            place.disk.kill();
        }
        note!(
            self,
            "controller {controller} ends{}",
            if power { ": power lost" } else { "" }
        );
        drop(process);
        let most = if self.healed { 100 } else { 15_000 };
        let wait = self.chance.below(most);
        self.after(wait, Event::StartController(controller));
    }

    /// Ends the process as a shutdown does: what has come is decided and told.
    pub(crate) fn stop_controller(&mut self, controller: usize) {
        if self.is_paused(controller) {
            return;
        }
        let now = self.controller_now(controller);
        let run = self.controllers[controller].runs;
        if let Some(process) = &mut self.controllers[controller].process
            && let Some(term) = &mut process.term
        {
            let jobs: Vec<_> = term.inbox.drain(..).collect();
            let batch = engine::decide(&mut process.state, jobs.into_iter(), now);
            term.undurable.push_back(batch);
        }
        while self.controllers[controller].runs == run
            && (self.controllers[controller].term()).is_some_and(|term| !term.undurable.is_empty())
        {
            self.commit(controller, run);
        }
        // It may have been deposed, or stopped amid its last words.
        if self.controllers[controller].runs != run || self.is_paused(controller) {
            return;
        }
        let Some(mut process) = self.controllers[controller].process.take() else {
            return;
        };
        while process.store.journal_len() > 0 && process.store.checkpoint(1_000).is_ok() {}
        if let Some(servers) = self.servers.of(controller) {
            servers.release((controller, run));
        }
        note!(self, "controller {controller} stops");
        drop(process);
        let wait = self.chance.below(5_000);
        self.after(wait, Event::StartController(controller));
    }

    /// Stops the process amid whatever it is at, for a while.
    pub(crate) fn pause_controller(&mut self, controller: usize) {
        let wait = self.chance.within(100, 8_000);
        let with_clock = self.chance.happens(300);
        let place = &mut self.controllers[controller];
        let Some(process) = &mut place.process else {
            return;
        };
        if place.pause.until > self.now {
            return;
        }
        place.pause = Pause {
            since: self.now,
            until: self.now + wait,
            with_clock,
        };
        if let (Some(lease), true) = (&mut process.lease, with_clock) {
            *lease += wait;
        }
        note!(
            self,
            "controller {controller} is stopped for {wait} ms{}",
            if with_clock {
                ", its clock as well"
            } else {
                ""
            }
        );
    }

    pub(crate) fn is_paused(&self, controller: usize) -> bool {
        self.controllers[controller].pause.until > self.now
    }

    /// What happens to a stopped process waits until it goes on; for a time on its own clock, until that shows it.
    pub(crate) fn put_off(&mut self, controller: usize, event: Event) {
        let pause = &self.controllers[controller].pause;
        let on_its_clock = matches!(event, Event::LookAtLease(..) | Event::Wake(..));
        let at = if pause.with_clock && on_its_clock {
            self.now + (pause.until - pause.since)
        } else {
            pause.until
        };
        self.after(at - self.now, event);
    }

    pub(crate) fn controller_receives(&mut self, controller: usize, message: &Message) {
        let now = self.controller_now(controller);
        let portion = self.divided.portion(controller);
        let subject = message.subject.as_str();
        if subjects::is_controllers_inbox(subject) {
            self.gather_receives(controller, message);
            return;
        }
        let Some(term) = self.controllers[controller].term() else {
            return;
        };
        let channel = [
            AgentChannel::Heartbeat,
            AgentChannel::Results,
            AgentChannel::Progress,
        ]
        .into_iter()
        .find(|channel| channel.host_text(subject).is_some());
        if channel.is_some_and(|channel| !portion.owns_subject(channel, subject)) {
            return;
        }
        let user = endpoint::requester(message).unwrap_or_default();
        let key = header(message, headers::MSG_ID).map(|key| (user, key.to_owned()));
        let mut asker = Asker {
            reply: message.reply.clone(),
            subject: message.subject.to_string(),
            operation: None,
            key,
        };
        let gathered = gathered(portion, subject);
        let read = if channel == Some(AgentChannel::Progress) {
            endpoint::decode_progress(message)
        } else if subjects::teller(subject, portion.of).is_some() {
            endpoint::decode_relay(message, portion.of)
        } else {
            let Some(endpoint) = gathered.or_else(|| served(portion, subject)) else {
                return;
            };
            let (last, chance) = (&mut term.last_id, &mut self.chance);
            endpoint.read(message, || uuid7(now, last, chance))
        };
        if !portion.owns_request(&read) {
            return;
        }
        match read {
            Ok(input) => {
                if let Some(endpoint) = gathered {
                    self.gather(controller, endpoint, (asker, input), message);
                    return;
                }
                let report = Report::of(&input);
                asker.operation = match &input {
                    Input::Result { result, .. } => Some(result.operation_id),
                    _ => None,
                };
                let requester = asker.reply.is_some().then_some(asker);
                let input = portion.make_linearizable(input);
                term.inbox.push_back(Job { input, requester });
                if let Some(report) = report {
                    self.oracle
                        .of_controller(controller)
                        .delivered(controller, report);
                }
                self.decide_soon(controller);
            }
            Err(endpoint::Rejected { refusal, .. }) => {
                note!(self, "refused: {}", refusal.message);
                self.answer(controller, &asker, &Reply::Refused(refusal));
            }
        }
    }
}

fn header<'m>(message: &'m Message, name: &str) -> Option<&'m str> {
    let value = message.headers.as_ref()?.get(name)?;
    Some(value.as_str())
}
