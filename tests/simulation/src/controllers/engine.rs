//! The leader's engine. It calls the real `decide` and `commit` in separate events, so that batches
//! can wait for their commit, and a crash or a pause can happen in between.

use scuttle_controller::engine::commit::{CommitFailed, commit};
use scuttle_controller::engine::decide::next_timeout;
use scuttle_controller::engine::{self, CommittedBatch, PendingBatch};
use scuttle_controller::leadership::term::StopReason;
use scuttle_controller::store::Store;
use scuttle_core::Change;

use crate::simulation::{Simulation, note};
use crate::state::controllers::requester::Requester;
use crate::state::event::Event;
use crate::storage::nats_servers::NatsServers;

/// The maximum number of batches that wait to be committed. The real engine has the same limit.
const MAX_PENDING_BATCHES: usize = 4;

impl Simulation {
    pub(crate) fn schedule_decide(&mut self, controller: usize) {
        let delay_ms = self.rng.pick_below(4);
        let run = self.controllers[controller].run_number;
        if let Some(term) = self.controllers[controller].leader_term()
            && !term.deciding
            && term.pending_batches.len() < MAX_PENDING_BATCHES
        {
            term.deciding = true;
            self.schedule(delay_ms, Event::Decide { controller, run });
        }
    }

    pub(crate) fn wake(&mut self, controller: usize, run: u64, wake: u64) {
        if let Some(term) = self.controllers[controller].leader_term()
            && term.wakes == wake
        {
            self.decide(controller, run);
        }
    }

    pub(crate) fn decide(&mut self, controller: usize, run: u64) {
        let now = self.controller_now(controller);
        let Some(process) = self.controllers[controller].process_of_run(run) else {
            return;
        };
        let Some(term) = &mut process.term else {
            return;
        };
        term.deciding = false;
        if term.pending_batches.len() >= MAX_PENDING_BATCHES {
            return;
        }
        let max_count = term.inbox.len() as u64;
        let count = if max_count == 0 {
            0
        } else {
            self.rng.pick_between(1, max_count)
        };
        let jobs: Vec<_> = term.inbox.drain(..count as usize).collect();
        let batch = engine::decide(&mut process.state, jobs.into_iter(), now);
        if !batch.is_empty() {
            term.pending_batches.push_back(batch);
        }
        let more = !term.inbox.is_empty();
        term.wakes += 1;
        let wake = Event::Wake {
            controller,
            run,
            wake: term.wakes,
        };
        let timeout = next_timeout(&process.state, now).as_millis() as u64;
        let commit = !term.pending_batches.is_empty() && !term.committing;
        term.committing |= commit;
        self.schedule(timeout.max(1), wake);
        if commit {
            self.schedule_commit(controller, run);
        }
        if more {
            self.schedule_decide(controller);
        }
    }

    fn schedule_commit(&mut self, controller: usize, run: u64) {
        let delay_ms = self.rng.pick_between(1, self.plan.max_fsync_ms);
        self.schedule(delay_ms, Event::Commit { controller, run });
    }

    pub(crate) fn commit(&mut self, controller: usize, run: u64) {
        let Some(process) = self.controllers[controller].process_of_run(run) else {
            return;
        };
        let Some(term) = &mut process.term else {
            return;
        };
        term.committing = false;
        let Some(last) = (term.pending_batches.len() as u64).checked_sub(1) else {
            return;
        };
        let count = 1 + self.rng.pick_below(last + 1) as usize;
        let batches: Vec<_> = term.pending_batches.drain(..count).collect();
        if !self.append_batches(controller, batches) {
            self.handle_append_failure(controller);
            return;
        }
        if let Err(error) = self.verify_journal(controller) {
            note!(self, "controller {controller} stops serving: {error}");
            self.send_committed(controller, run);
            if self.controllers[controller].run_number == run {
                self.handle_append_failure(controller);
            }
            return;
        }
        let checkpointed = self.checkpoint(controller);
        if let Some(term) = self.controllers[controller].leader_term()
            && !term.pending_batches.is_empty()
        {
            term.committing = true;
            self.schedule_commit(controller, run);
        }
        if !self.faults_stopped && self.plan.pauses_controllers() && self.rng.roll_per_mille(10) {
            self.pause_before_sending(controller, run);
            return;
        }
        self.send_committed(controller, run);
        self.schedule_decide(controller);
        if !checkpointed && self.controllers[controller].run_number == run {
            let power = self.rng.roll_per_mille(500);
            self.end_controller(controller, power);
        }
    }

    /// Appends batches, and lets the oracle check the changes that became durable. Returns whether
    /// the append succeeded from the leader's point of view.
    fn append_batches(&mut self, controller: usize, batches: Vec<PendingBatch<Requester>>) -> bool {
        let Some(process) = &mut self.controllers[controller].process else {
            return false;
        };
        let before = self
            .servers
            .for_controller(controller)
            .map(NatsServers::batch_count);
        let result = commit(&mut process.store, batches.into_iter());
        let appended = process.store.take_appended();
        let grown = (self.servers.for_controller(controller))
            .map(|servers| Some(servers.batch_count()) > before);
        let (committed, failed) = match result {
            Ok(batches) => (batches, false),
            Err(CommitFailed { error, batches }) => {
                note!(self, "commit of {controller} failed: {error}");
                let replies = batches
                    .into_iter()
                    .map(|batch| batch.into_rejected(StopReason::SteppedDown));
                (replies.collect(), true)
            }
        };
        match grown {
            // The next start shows what became durable.
            None if failed => self
                .oracle
                .for_controller(controller)
                .note_failed_append(appended),
            // The append failed and nothing was stored.
            Some(false) if !appended.is_empty() => {}
            _ => self.check_appended(controller, &appended, &committed),
        }
        if let Some(term) = self.controllers[controller].leader_term() {
            term.committed.extend(committed);
        }
        !failed
    }

    /// Makes a checkpoint in some random cases. Returns false if the checkpoint failed.
    pub(crate) fn checkpoint(&mut self, controller: usize) -> bool {
        if !self.rng.roll_per_mille(60) {
            return true;
        }
        let changes = self.rng.pick_between(1, 40) as usize;
        let process = self.controllers[controller].process.as_mut();
        process.is_none_or(|process| process.store.checkpoint(changes).is_ok())
    }

    /// Lets the oracle check the changes that an append made durable, and the effects of the
    /// committed batches.
    fn check_appended(
        &mut self,
        controller: usize,
        appended: &[Change],
        committed: &[CommittedBatch<Requester>],
    ) {
        let oracle = self.oracle.for_controller(controller);
        let checked = [
            oracle.check_accepted_teardowns(committed, appended),
            oracle.check_append(controller, appended, self.now),
            oracle.check_confirmed_protections(committed, appended),
        ];
        for checked in checked {
            self.record_check(checked);
        }
        for effect in committed.iter().flat_map(|batch| &batch.effects) {
            let checked = self.oracle.check_committed(controller, effect);
            self.record_check(checked);
        }
    }

    /// Ends the process, or steps down, because after a failed append the state in memory may
    /// differ from the store.
    fn handle_append_failure(&mut self, controller: usize) {
        let ends = self.servers.for_controller(controller).is_none()
            || (self.plan.kills_controllers() && self.rng.roll_per_mille(300));
        if ends {
            let power = self.rng.roll_per_mille(500);
            self.end_controller(controller, power);
        } else {
            self.step_down(controller);
        }
    }
}
