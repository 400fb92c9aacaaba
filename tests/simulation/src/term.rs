//! What a leader does: the real engine's halves, fed one event at a time. Deciding and committing are events of their own, so
//! that batches wait undurable, and a crash or a pause can come in between.

use std::collections::{BTreeMap, VecDeque};

use async_nats::Subject;
use scuttle_controller::engine::{self, CommitFailed, CommittedBatch, Job, PendingBatch};
use scuttle_controller::leadership::term::StopReason;
use scuttle_controller::outbound::publisher;
use scuttle_controller::store::Store;
use scuttle_core::{Change, Effect, Input, Reply};
use scuttle_schemas::{OperationId, subjects};

use crate::gather::Gathering;
use crate::network::{Link, message};
use crate::servers::Servers;
use crate::world::{Event, World, note};

/// How many decided batches wait for the disk at the most, as in the engine.
const UNDURABLE: usize = 4;

/// Who asked, and for what.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) reply: Option<Subject>,
    pub(crate) subject: String,
    /// The operation of a result.
    pub(crate) operation: Option<OperationId>,
    /// Who asked with which idempotency key.
    pub(crate) key: Option<(String, String)>,
}

/// What a leader has in hand, in the order in which it goes.
pub(crate) struct Term {
    pub(crate) inbox: VecDeque<Job<Asker>>,
    pub(crate) undurable: VecDeque<PendingBatch<Asker>>,
    /// May be told, if it leads yet.
    durable: Vec<CommittedBatch<Asker>>,
    /// Is being told.
    leaving: VecDeque<Leaving>,
    deciding: bool,
    committing: bool,
    wakes: u64,
    pub(crate) last_id: u128,
    /// Lists that wait for other leaders, by number.
    pub(crate) gatherings: BTreeMap<u64, Gathering>,
    pub(crate) gathered: u64,
}

enum Leaving {
    Answer(Asker, Reply),
    Effect(Effect),
}

impl Term {
    pub(crate) fn new() -> Self {
        Self {
            inbox: VecDeque::from([Job {
                input: Input::Start,
                requester: None,
            }]),
            undurable: VecDeque::new(),
            durable: Vec::new(),
            leaving: VecDeque::new(),
            deciding: false,
            committing: false,
            wakes: 0,
            last_id: 0,
            gatherings: BTreeMap::new(),
            gathered: 0,
        }
    }

    /// What is told of all that it had in hand when it is over.
    pub(crate) fn deposed(self) -> Vec<(Asker, Reply)> {
        let refused = |asker| (asker, Reply::Refused(StopReason::SteppedDown.refusal()));
        let waiting = self.inbox.into_iter().filter_map(|job| job.requester);
        let gathering = (self.gatherings.into_values()).map(|gathering| gathering.asker);
        let leaving = self
            .leaving
            .into_iter()
            .filter_map(|leaving| match leaving {
                Leaving::Answer(asker, _) => Some(asker),
                Leaving::Effect(_) => None,
            });
        let decided = self.undurable.into_iter().map(PendingBatch::into_rejected);
        let told = (self.durable.into_iter().map(CommittedBatch::into_rejected)).chain(decided);
        let replies = told.flat_map(|told| told.replies);
        (leaving.map(refused).chain(replies))
            .chain(waiting.map(refused))
            .chain(gathering.map(refused))
            .collect()
    }
}

impl World {
    pub(crate) fn decide_soon(&mut self, controller: usize) {
        let wait = self.chance.below(4);
        let run = self.controllers[controller].runs;
        if let Some(term) = self.controllers[controller].term()
            && !term.deciding
            && term.undurable.len() < UNDURABLE
        {
            term.deciding = true;
            self.after(wait, Event::Decide(controller, run));
        }
    }

    pub(crate) fn wake(&mut self, controller: usize, run: u64, wake: u64) {
        if let Some(term) = self.controllers[controller].term()
            && term.wakes == wake
        {
            self.decide(controller, run);
        }
    }

    pub(crate) fn decide(&mut self, controller: usize, run: u64) {
        let now = self.controller_now(controller);
        let Some(process) = self.controllers[controller].run(run) else {
            return;
        };
        let Some(term) = &mut process.term else {
            return;
        };
        term.deciding = false;
        if term.undurable.len() >= UNDURABLE {
            return;
        }
        let most = term.inbox.len() as u64;
        let taken = if most == 0 {
            0
        } else {
            self.chance.within(1, most)
        };
        let jobs: Vec<_> = term.inbox.drain(..taken as usize).collect();
        let batch = engine::decide(&mut process.state, jobs.into_iter(), now);
        if !batch.is_empty() {
            term.undurable.push_back(batch);
        }
        let more = !term.inbox.is_empty();
        term.wakes += 1;
        let wake = Event::Wake(controller, run, term.wakes);
        let patience = engine::next_timeout(&process.state, now).as_millis() as u64;
        let commit = !term.undurable.is_empty() && !term.committing;
        term.committing |= commit;
        self.after(patience.max(1), wake);
        if commit {
            self.commit_later(controller, run);
        }
        if more {
            self.decide_soon(controller);
        }
    }

    fn commit_later(&mut self, controller: usize, run: u64) {
        let wait = self.chance.within(1, self.plan.fsync_ms);
        self.after(wait, Event::Commit(controller, run));
    }

    pub(crate) fn commit(&mut self, controller: usize, run: u64) {
        let Some(process) = self.controllers[controller].run(run) else {
            return;
        };
        let Some(term) = &mut process.term else {
            return;
        };
        term.committing = false;
        let Some(last) = (term.undurable.len() as u64).checked_sub(1) else {
            return;
        };
        let taken = 1 + self.chance.below(last + 1) as usize;
        let batches: Vec<_> = term.undurable.drain(..taken).collect();
        if !self.append(controller, batches) {
            self.cannot_append(controller);
            return;
        }
        let checkpointed = self.checkpoint(controller);
        if let Some(term) = self.controllers[controller].term()
            && !term.undurable.is_empty()
        {
            term.committing = true;
            self.commit_later(controller, run);
        }
        if !self.healed && self.plan.pauses() && self.chance.happens(10) {
            self.pause_amid(controller, run);
            return;
        }
        self.tell(controller, run);
        self.decide_soon(controller);
        if !checkpointed && self.controllers[controller].runs == run {
            let power = self.chance.happens(500);
            self.end_controller(controller, power);
        }
    }

    /// Appends batches, and has the oracle look at what is there then; whether that went well, as far as the leader knows.
    fn append(&mut self, controller: usize, batches: Vec<PendingBatch<Asker>>) -> bool {
        let Some(process) = &mut self.controllers[controller].process else {
            return false;
        };
        let before = self.servers.of(controller).map(Servers::batches);
        let committed = engine::commit(&mut process.store, batches.into_iter());
        let appended = process.store.take_appended();
        let grown = (self.servers.of(controller)).map(|servers| Some(servers.batches()) > before);
        let (told, failed) = match committed {
            Ok(told) => (told, false),
            Err(CommitFailed { error, batches }) => {
                note!(self, "commit of {controller} failed: {error}");
                let told = batches.into_iter().map(CommittedBatch::into_rejected);
                (told.collect(), true)
            }
        };
        match grown {
            // The next start finds out.
            None if failed => self.oracle.of_controller(controller).unsure(appended),
            // A leader may not know that it was appended, and it may not have been.
            Some(false) if !appended.is_empty() => {}
            _ => self.judge(controller, &appended, &told),
        }
        if let Some(term) = self.controllers[controller].term() {
            term.durable.extend(told);
        }
        !failed
    }

    /// Makes a checkpoint now and then; whether it could.
    fn checkpoint(&mut self, controller: usize) -> bool {
        if !self.chance.happens(60) {
            return true;
        }
        let changes = self.chance.within(1, 40) as usize;
        let process = self.controllers[controller].process.as_mut();
        process.is_none_or(|process| process.store.checkpoint(changes).is_ok())
    }

    /// Something was appended, and this is what is to be told of it.
    fn judge(&mut self, controller: usize, appended: &[Change], told: &[CommittedBatch<Asker>]) {
        let checked = self
            .oracle
            .of_controller(controller)
            .appended(controller, appended, self.now);
        self.check(checked);
        for effect in told.iter().flat_map(|told| &told.effects) {
            let checked = self.oracle.decided(controller, effect);
            self.check(checked);
        }
    }

    /// A process whose store does not take what it decided knows nothing more: it ends, or leads no more.
    fn cannot_append(&mut self, controller: usize) {
        let ends =
            self.servers.of(controller).is_none() || (self.plan.dies() && self.chance.happens(300));
        if ends {
            let power = self.chance.happens(500);
            self.end_controller(controller, power);
        } else {
            self.depose(controller);
        }
    }

    fn pause_amid(&mut self, controller: usize, run: u64) {
        self.pause_controller(controller);
        let wait = self.controllers[controller].pause.until - self.now;
        self.after(wait, Event::Tell(controller, run));
    }

    /// Replies, then effects: as outbound does, if the controller leads yet. A crash or a pause may come between any two.
    pub(crate) fn tell(&mut self, controller: usize, run: u64) {
        let cut = !self.healed
            && (self.plan.dies() || self.plan.pauses())
            && self.chance.happens(if self.plan.dies() { 15 } else { 8 });
        let mut left = if cut { self.chance.below(4) } else { u64::MAX };
        loop {
            let holds = self.holds_lease(controller);
            let Some(process) = self.controllers[controller].run(run) else {
                return;
            };
            let Some(term) = &mut process.term else {
                return;
            };
            if term.leaving.is_empty() {
                if term.durable.is_empty() {
                    break;
                }
                if !holds {
                    self.depose(controller);
                    return;
                }
                term.look();
            }
            if left == 0 {
                break;
            }
            left -= 1;
            match term.leaving.pop_front() {
                Some(Leaving::Answer(asker, reply)) => self.answer(controller, &asker, &reply),
                Some(Leaving::Effect(effect)) => self.publish(controller, effect),
                None => {}
            }
        }
        if left == 0 {
            if self.plan.pauses() && !(self.plan.dies() && self.chance.happens(500)) {
                self.pause_amid(controller, run);
            } else {
                let power = self.chance.happens(500);
                self.end_controller(controller, power);
            }
        }
    }

    fn publish(&mut self, controller: usize, effect: Effect) {
        let checked = self.oracle.told(controller, &effect);
        self.check(checked);
        let portion = self.divided.portion(controller);
        let encoder = &mut self.controllers[controller].encoder;
        let leaves = publisher::encode_effect(encoder, effect, portion);
        note!(
            self,
            "publish {controller} {}: {}",
            leaves.subject,
            String::from_utf8_lossy(&leaves.payload)
        );
        let leaving = message(&leaves.subject, None, leaves.headers, leaves.payload);
        self.send(Link::Controller(controller), &leaving);
    }

    pub(crate) fn answer(&mut self, controller: usize, asker: &Asker, reply: &Reply) {
        let checked = self
            .oracle
            .answered(controller, asker, reply, &mut self.counts);
        self.check(checked);
        let Some(inbox) = &asker.reply else { return };
        if !subjects::may_be_answered(&asker.subject, inbox) {
            return;
        }
        let encoder = &mut self.controllers[controller].encoder;
        let (headers, payload) = publisher::encode_reply(encoder, reply);
        note!(
            self,
            "answer  {controller} {}: {}",
            asker.subject,
            String::from_utf8_lossy(&payload)
        );
        let answer = message(inbox, None, headers, payload);
        self.send(Link::Controller(controller), &answer);
    }
}

impl Term {
    /// What is durable may leave: replies, then effects.
    fn look(&mut self) {
        let (replies, effects): (Vec<_>, Vec<_>) = (self.durable.drain(..))
            .map(|told| (told.replies, told.effects))
            .unzip();
        let replies = replies.into_iter().flatten();
        self.leaving
            .extend(replies.map(|(asker, reply)| Leaving::Answer(asker, reply)));
        let effects = effects.into_iter().flatten();
        self.leaving.extend(effects.map(Leaving::Effect));
    }
}
