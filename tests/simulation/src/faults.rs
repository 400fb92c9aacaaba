//! The faults of a seed: when something goes wrong, and what then.

use scuttle_controller::engine;

use crate::disk::Disk;
use crate::kept::Kept;
use crate::network::Link;
use crate::plan::Fault;
use crate::servers::{Servers, Unanswered};
use crate::world::{Event, World, note};

impl World {
    pub(crate) fn fault(&mut self) {
        if self.healed {
            return;
        }
        if let Some(fault) = self.chance.pick(&self.plan.faults).copied() {
            note!(self, "fault   {fault:?}");
            self.do_fault(fault);
        }
        let wait = self.chance.within(1, self.plan.fault_gap_ms);
        self.after(wait, Event::Fault);
    }

    fn do_fault(&mut self, fault: Fault) {
        let host = self.some_host();
        let controller = self.some_controller();
        match fault {
            Fault::KillController => self.end_controller(controller, false),
            Fault::ControllerPower => self.end_controller(controller, true),
            Fault::StopController => self.stop_controller(controller),
            Fault::ControllerDisk => {
                let writes = self.chance.below(60);
                self.controllers[controller].disk.light_fuse(writes);
            }
            Fault::ControllerDiskFull => {
                self.controllers[controller].disk.fill(true);
                let wait = self.chance.within(100, 20_000);
                self.after(wait, Event::DiskFree(controller));
            }
            Fault::KillAgent => self.end_agent(host),
            Fault::AgentDisk => {
                let verbs = self.chance.below(6);
                self.workers[host].file.light_fuse(Some(verbs));
            }
            Fault::PartAgent => {
                let wait = self.chance.within(100, 40_000);
                self.cut(Link::Agent(host), wait);
            }
            Fault::PartController => {
                let wait = self.chance.within(100, 30_000);
                self.cut(Link::Controller(controller), wait);
            }
            Fault::ControllerClock => {
                self.controllers[controller].clock =
                    self.chance.below(120_001).cast_signed() - 60_000;
            }
            Fault::AgentClock => {
                self.workers[host].clock = self.chance.below(120_001).cast_signed() - 60_000;
            }
            Fault::UnreadableInventory => {
                self.workers[host].unreadable = true;
                let wait = self.chance.within(100, 20_000);
                self.after(wait, Event::Readable(host));
            }
            Fault::PauseController
            | Fault::LeaseLost
            | Fault::AppendUnanswered
            | Fault::ServersAway
            | Fault::ControllerDiskLost
            | Fault::JournalTrimmed => self.do_shared_fault(fault, controller),
        }
    }

    /// One that there is where several controllers share a journal.
    fn do_shared_fault(&mut self, fault: Fault, controller: usize) {
        let Some(servers) = self.servers.of(controller).cloned() else {
            return;
        };
        match fault {
            Fault::PauseController => self.pause_controller(controller),
            // A server's clock, or the leader's own, does not go as the others do.
            Fault::LeaseLost => servers.expire(),
            Fault::AppendUnanswered => {
                let faults = [Unanswered::Lost, Unanswered::CutShort, Unanswered::Kept];
                servers.fail_next(self.chance.pick(&faults).copied());
            }
            Fault::ServersAway => {
                servers.go(true);
                let wait = self.chance.within(100, 10_000);
                self.after(wait, Event::ServersBack);
            }
            Fault::JournalTrimmed => self.trim_journal(&servers, controller),
            _ => {
                self.end_controller(controller, true);
                self.controllers[controller].disk = Disk::with_new_store();
            }
        }
    }

    /// Trims the journal behind a controller's rows, as far as those contain it.
    fn trim_journal(&mut self, servers: &Servers, controller: usize) {
        let rows = self.controllers[controller].disk.copy();
        let read = Kept::open(&rows, Some(servers.journal(controller)))
            .and_then(|mut kept| engine::load(&mut kept));
        if read.is_ok() {
            note!(self, "journal trimmed through {}", servers.sought());
            servers.trim(rows, servers.sought());
        }
    }

    pub(crate) fn servers_back(&mut self) {
        for servers in self.servers.iter() {
            servers.go(false);
        }
    }

    /// Rather the one that leads its partition, if one does.
    fn some_controller(&mut self) -> usize {
        let any = self.chance.below(self.controllers.len() as u64) as usize;
        let partition = self.divided.portion(any).partition;
        let mut beside = self.divided.of_partition(partition);
        match beside.find(|controller| self.controllers[*controller].leads()) {
            Some(leader) if self.chance.happens(500) => leader,
            _ => any,
        }
    }
}
