//! The start and the end of a controller's process. A controller with a local store leads as long
//! as it runs. If several controllers share a journal, each follows until it leads (see
//! `leadership`).

use scuttle_controller::engine;
use scuttle_controller::store::{JournalError, Store, StoreError};
use scuttle_schemas::Timestamp;

use crate::oracle::partition::PartitionOracle;
use crate::simulation::{Simulation, note};
use crate::state::controllers::process::{ControllerProcess, Pause};
use crate::state::event::Event;
use crate::storage::controller_store::ControllerStore;
use crate::storage::nats_servers::{LeaseHolder, NatsServers};

/// Returns whether an error only delays the start of a controller. Any other error means that data
/// is damaged.
fn is_transient(error: &StoreError) -> bool {
    match error {
        StoreError::Io { cause, .. } => cause.kind() == std::io::ErrorKind::StorageFull,
        StoreError::Journal(JournalError::Failed { .. } | JournalError::Trimmed { .. }) => true,
        _ => false,
    }
}

impl Simulation {
    pub(crate) fn controller_now(&self, controller: usize) -> Timestamp {
        self.wall_clock(self.controllers[controller].clock)
    }

    pub(crate) fn start_controller(&mut self, controller: usize) {
        if self.controllers[controller].process.is_some() {
            return;
        }
        let journal = (self.servers.for_controller(controller))
            .map(|servers| servers.open_journal(controller));
        let opened = ControllerStore::open(&self.controllers[controller].disk, journal);
        let loaded = opened.and_then(|mut store| {
            let state = engine::load(&mut store)?;
            Ok((store, state))
        });
        let (mut store, state) = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                note!(self, "controller {controller} cannot start: {error}");
                let lost = (self.servers.for_controller(controller))
                    .is_some_and(NatsServers::is_journal_lost);
                let halts = lost && matches!(&error, StoreError::Journal(error) if error.is_loss());
                if !halts && !is_transient(&error) {
                    let violation = PartitionOracle::store_unreadable(&error);
                    self.record_check(violation);
                }
                self.controllers[controller].disk.detach();
                self.restore_from_snapshot(controller, &error);
                let delay_ms = if self.faults_stopped { 1_000 } else { 3_000 };
                self.schedule(delay_ms, Event::StartController(controller));
                return;
            }
        };
        note!(
            self,
            "controller {controller} starts, {:?}",
            state.row_counts()
        );
        let checked = self
            .oracle
            .for_controller(controller)
            .check_loaded(&store.take_loaded());
        self.record_check(checked);
        let controller_state = &mut self.controllers[controller];
        controller_state.run_number += 1;
        controller_state.process = Some(ControllerProcess {
            state,
            store,
            lease: None,
            term: None,
        });
        let run = controller_state.run_number;
        match self.servers.for_controller(controller) {
            None => self.start_term(controller, run),
            Some(_) => self.check_lease(controller, run),
        }
    }

    /// Replaces a controller's rows with the snapshot if `error` says that the journal was trimmed
    /// beyond the rows. Does nothing otherwise.
    fn restore_from_snapshot(&mut self, controller: usize, error: &StoreError) {
        if let StoreError::Journal(JournalError::Trimmed { .. }) = error
            && let Some(rows) = self
                .servers
                .for_controller(controller)
                .and_then(NatsServers::snapshot)
        {
            self.controllers[controller].disk = rows;
        }
    }

    /// Ends the process as a kill or a power loss does. A new process starts later.
    pub(crate) fn end_controller(&mut self, controller: usize, power: bool) {
        let controller_state = &mut self.controllers[controller];
        let Some(process) = controller_state.process.take() else {
            return;
        };
        controller_state.pause = Pause::default();
        if power {
            self.counts.power_losses += 1;
            controller_state.disk.lose_power(&mut self.rng);
        } else {
            self.counts.crashes += 1;
            controller_state.disk.detach();
        }
        note!(
            self,
            "controller {controller} ends{}",
            if power { ": power lost" } else { "" }
        );
        drop(process);
        let max_delay_ms = if self.faults_stopped { 100 } else { 15_000 };
        let delay_ms = self.rng.pick_below(max_delay_ms);
        self.schedule(delay_ms, Event::StartController(controller));
    }

    /// Ends the process as a graceful shutdown does: decides, commits and sends everything that was
    /// received.
    pub(crate) fn stop_controller(&mut self, controller: usize) {
        if self.is_paused(controller) {
            return;
        }
        let now = self.controller_now(controller);
        let run = self.controllers[controller].run_number;
        if let Some(process) = &mut self.controllers[controller].process
            && let Some(term) = &mut process.term
        {
            let jobs: Vec<_> = term.inbox.drain(..).collect();
            let batch = engine::decide(&mut process.state, jobs.into_iter(), now);
            term.pending_batches.push_back(batch);
        }
        while self.controllers[controller].run_number == run
            && (self.controllers[controller].leader_term())
                .is_some_and(|term| !term.pending_batches.is_empty())
        {
            self.commit(controller, run);
        }
        // The controller may have stepped down, or been paused, during the last commits.
        if self.controllers[controller].run_number != run || self.is_paused(controller) {
            return;
        }
        let Some(mut process) = self.controllers[controller].process.take() else {
            return;
        };
        while process.store.journal_len() > 0 && process.store.checkpoint(1_000).is_ok() {}
        if let Some(servers) = self.servers.for_controller(controller) {
            servers.release_lease(LeaseHolder { controller, run });
        }
        note!(self, "controller {controller} stops");
        drop(process);
        let delay_ms = self.rng.pick_below(5_000);
        self.schedule(delay_ms, Event::StartController(controller));
    }
}
