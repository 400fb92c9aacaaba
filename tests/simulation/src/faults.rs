//! The faults of a seed: their times and their effects.

use scuttle_controller::engine;

use crate::oracle::violation::{NOTHING_LOST, Violation};
use crate::seed::plan::Fault;
use crate::simulation::{Simulation, note};
use crate::state::connection::Connection;
use crate::state::event::Event;
use crate::storage::controller_store::ControllerStore;
use crate::storage::disk::Disk;
use crate::storage::nats_servers::{AppendFault, JournalLoss, NatsServers};

impl Simulation {
    pub(crate) fn cause_fault(&mut self) {
        if self.faults_stopped {
            return;
        }
        if let Some(fault) = self.rng.choose(&self.plan.faults).copied() {
            note!(self, "fault   {fault:?}");
            self.do_fault(fault);
        }
        let duration_ms = self.rng.pick_between(1, self.plan.max_fault_gap_ms);
        self.schedule(duration_ms, Event::Fault);
    }

    fn do_fault(&mut self, fault: Fault) {
        let host = self.choose_host();
        let controller = self.choose_controller();
        match fault {
            Fault::KillController => self.end_controller(controller, false),
            Fault::CutControllerPower => self.end_controller(controller, true),
            Fault::StopController => self.stop_controller(controller),
            Fault::FailControllerDisk => {
                let writes = self.rng.pick_below(60);
                self.controllers[controller].disk.fail_after(writes);
            }
            Fault::FillControllerDisk => {
                self.controllers[controller].disk.set_full(true);
                let duration_ms = self.rng.pick_between(100, 20_000);
                self.schedule(duration_ms, Event::FreeDiskSpace(controller));
            }
            Fault::KillAgent => self.end_agent(host),
            Fault::FailAgentDisk => {
                let calls = self.rng.pick_below(6);
                self.agent_hosts[host].file.fail_after(Some(calls));
            }
            Fault::DisconnectAgent => {
                let duration_ms = self.rng.pick_between(100, 40_000);
                self.disconnect(Connection::Agent(host), duration_ms);
            }
            Fault::DisconnectController => {
                let duration_ms = self.rng.pick_between(100, 30_000);
                self.disconnect(Connection::Controller(controller), duration_ms);
            }
            Fault::ShiftControllerClock => {
                self.controllers[controller].clock =
                    self.rng.pick_below(120_001).cast_signed() - 60_000;
            }
            Fault::ShiftAgentClock => {
                self.agent_hosts[host].clock = self.rng.pick_below(120_001).cast_signed() - 60_000;
            }
            Fault::FailInventory => {
                self.agent_hosts[host].inventory_fails = true;
                let duration_ms = self.rng.pick_between(100, 20_000);
                self.schedule(duration_ms, Event::RestoreInventory(host));
            }
            Fault::StrayAgent => self.start_stray_agent(host),
            Fault::PauseController
            | Fault::ExpireLease
            | Fault::LoseAppendReply
            | Fault::StopServers
            | Fault::ReplaceControllerDisk
            | Fault::TrimJournal
            | Fault::LoseJournal
            | Fault::AddForeignMessage => self.do_shared_fault(fault, controller),
        }
    }

    /// Causes a fault that can only occur if several controllers share a journal.
    fn do_shared_fault(&mut self, fault: Fault, controller: usize) {
        let Some(servers) = self.servers.for_controller(controller).cloned() else {
            return;
        };
        match fault {
            Fault::PauseController => self.pause_controller(controller),
            // As if a server's clock, or the leader's, ran at a different speed.
            Fault::ExpireLease => servers.expire_lease(),
            Fault::LoseAppendReply => {
                let faults = [
                    AppendFault::NotStored,
                    AppendFault::PartlyStored,
                    AppendFault::Stored,
                ];
                servers.fail_next_append(self.rng.choose(&faults).copied());
            }
            Fault::StopServers => {
                servers.set_unavailable(true);
                let duration_ms = self.rng.pick_between(100, 10_000);
                self.schedule(duration_ms, Event::RestoreServers);
            }
            Fault::TrimJournal => self.trim_journal(&servers, controller),
            Fault::LoseJournal => self.lose_journal(&servers, controller),
            Fault::AddForeignMessage => servers.add_foreign_message(),
            // A controller without rows would take an empty stream for that of a new swarm, unless
            // a halted controller held the lease.
            _ if servers.is_journal_lost() => {}
            _ => {
                self.end_controller(controller, true);
                self.controllers[controller].disk = Disk::with_new_store();
            }
        }
    }

    /// Stores a copy of a controller's rows as the snapshot, and trims the journal up to the last
    /// message that these rows contain. Does nothing if the rows cannot be loaded.
    fn trim_journal(&mut self, servers: &NatsServers, controller: usize) {
        let rows = self.controllers[controller].disk.copy_durable();
        let read = ControllerStore::open(&rows, Some(servers.open_journal(controller)))
            .and_then(|mut store| engine::load(&mut store));
        if read.is_ok() {
            note!(self, "journal trimmed through {}", servers.last_seek());
            servers.trim(rows, servers.last_seek());
        }
    }

    /// Loses the journal of a controller's partition for a random time. Does nothing unless every
    /// controller of the partition runs, and so has recorded the stream with its rows.
    fn lose_journal(&mut self, servers: &NatsServers, controller: usize) {
        let partition = self.partitioning.assignment(controller).partition;
        let mut group = self.partitioning.controllers_of(partition);
        if !group.all(|controller| self.controllers[controller].process.is_some()) {
            return;
        }
        let losses = [
            JournalLoss::Deleted,
            JournalLoss::Replaced,
            JournalLoss::Purged,
        ];
        if let Some(loss) = self.rng.choose(&losses) {
            note!(self, "journal {loss:?}");
            servers.lose_journal(*loss);
            let duration_ms = self.rng.pick_between(100, 20_000);
            self.schedule(duration_ms, Event::RestoreJournal(controller));
        }
    }

    /// Restores the lost journal of a controller's partition, and checks that no controller has
    /// served the partition without it.
    pub(crate) fn restore_journal(&mut self, controller: usize) {
        let servers = self.servers.for_controller(controller);
        let restored = servers.map_or(Ok(()), NatsServers::restore_journal);
        note!(self, "journal restored");
        self.record_check(restored.map_err(|details| Violation::new(NOTHING_LOST, details)));
    }

    pub(crate) fn restore_servers(&mut self) {
        for servers in self.servers.iter() {
            servers.set_unavailable(false);
        }
    }

    /// Chooses a random controller. In half of the cases, chooses the leader of its partition
    /// instead.
    fn choose_controller(&mut self) -> usize {
        let any = self.rng.pick_below(self.controllers.len() as u64) as usize;
        let partition = self.partitioning.assignment(any).partition;
        let mut group = self.partitioning.controllers_of(partition);
        match group.find(|controller| self.controllers[*controller].is_leader()) {
            Some(leader) if self.rng.roll_per_mille(500) => leader,
            _ => any,
        }
    }
}
