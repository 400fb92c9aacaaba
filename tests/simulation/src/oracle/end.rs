//! The agreement that is due once faults have stopped: the record, the agents' reality and every subscriber's
//! view are one, and everything that was accepted has ended.

use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{HostId, OperationId};

use super::{AGREE, Broken, LOST, Oracle, ensure};
use crate::network::Link;
use crate::subscribers::SUBJECTS;
use crate::world::{Event, World, note};

/// How often it is looked whether all is quiet, in milliseconds.
const LOOK_MS: u64 = 2_000;

/// How long it may take until all is quiet: the longest deadline, clocks that are two minutes apart, and the
/// longest wait of a repetition, twice.
const PATIENCE_MS: u64 = 450_000;

impl Oracle {
    /// The operations that have not ended, as far as the disk tells.
    pub(crate) fn open(&self) -> impl Iterator<Item = OperationId> {
        let open = |state| matches!(state, OperationState::Queued | OperationState::Running);
        self.rows
            .operations
            .values()
            .filter(move |row| open(row.state))
            .map(|row| row.id)
    }

    pub(crate) fn living(&self, host: &HostId) -> bool {
        let row = self.rows.hosts.get(host);
        row.is_some_and(|row| row.status != HostStatus::Decommissioned)
    }

    fn online(&self, host: &HostId) -> bool {
        let row = self.rows.hosts.get(host);
        row.is_some_and(|row| row.status == HostStatus::Online)
    }
}

impl World {
    /// The end of all faults.
    pub(crate) fn heal(&mut self) {
        note!(self, "faults stop");
        self.healed = true;
        for controller in 0..self.controllers.len() {
            self.controllers[controller].disk.mend();
            self.link_up(Link::Controller(controller));
            self.after(0, Event::StartController(controller));
        }
        for servers in self.servers.iter() {
            servers.fail_next(None);
            servers.go(false);
        }
        for host in 0..self.workers.len() {
            self.workers[host].unreadable = false;
            self.workers[host].file.light_fuse(None);
            self.after(0, Event::StartAgent(host));
            self.link_up(Link::Agent(host));
        }
        self.after(LOOK_MS, Event::Settled);
    }

    /// Looks whether all is quiet; then, an interval later, whether all agree.
    pub(crate) fn settled(&mut self) {
        let since = self.now - self.plan.active_ms;
        let open = self.oracle.open().next();
        let waiting = self.workers.iter().position(|worker| {
            let living = self.oracle.of_host(&worker.host).living(&worker.host);
            let busy = (worker.process.as_ref()).is_none_or(|process| {
                process.teardown.is_some() || process.machine.open_results() > 0
            });
            living && (busy || !self.oracle.of_host(&worker.host).online(&worker.host))
        });
        // Late messages of before may still come.
        let leads = self.one_leads_each();
        if since > self.plan.late_ms && open.is_none() && waiting.is_none() && leads {
            if self.oracle.since == 0 {
                self.oracle.since = self.now;
            }
            // One heartbeat interval and the debounce before it; for subscribers, a repeated revision.
            let patience = u64::from(self.plan.interval_ms).max(5_000) + 5_000;
            if self.now - self.oracle.since > patience {
                let checked = self.agree();
                self.check(checked);
                self.done = true;
                return;
            }
        } else {
            self.oracle.since = 0;
        }
        if since > PATIENCE_MS + self.plan.longest_timeout_s * 1000 {
            let what = format!(
                "not quiet {since} ms after the last fault: open {open:?}, waiting agent {waiting:?}, one controller leads each: {leads}"
            );
            self.check(Err(Broken::new(LOST, what)));
        }
        self.after(LOOK_MS, Event::Settled);
    }

    fn agree(&mut self) -> Result<(), Broken> {
        for oracle in self.oracle.each() {
            for id in &oracle.promised {
                let ended = oracle.rows.operations.get(id);
                ensure(ended.is_some(), LOST, || {
                    format!("{id} was accepted, and is not on record")
                })?;
            }
        }
        for worker in &self.workers {
            let oracle = self.oracle.of_host(&worker.host);
            if oracle.living(&worker.host) {
                oracle.agrees(&worker.host, &worker.deckies)?;
            } else {
                let left = oracle
                    .rows
                    .shards
                    .keys()
                    .find(|(host, _)| *host == worker.host);
                ensure(left.is_none(), AGREE, || {
                    format!("{left:?} is on record, and its host is not in the swarm")
                })?;
            }
        }
        let lists = self.controllers_agree()?;
        for (index, subscriber) in self.subscribers.iter().enumerate() {
            for (subject, list) in lists.iter().enumerate() {
                if let Err(what) = subscriber.agrees(subject, list, self.divided.of) {
                    let what = format!("subscriber {index} of {}: {what}", SUBJECTS[subject].0);
                    return Err(Broken::new(AGREE, what));
                }
            }
        }
        Ok(())
    }
}

impl Oracle {
    /// Whether the record of a host is what runs there.
    fn agrees(&self, host: &HostId, deckies: &crate::deckies::Deckies) -> Result<(), Broken> {
        for ((_, decky), shard) in self.rows.shards.range((host.clone(), first())..) {
            if shard.row.host != *host {
                break;
            }
            let row = &shard.row;
            let real = deckies.running().get(decky);
            let unreported = row.state == ShardState::Degraded
                && row
                    .last_error
                    .as_ref()
                    .is_some_and(|error| error.as_str().contains("not reported"));
            let holds = match (real, row.state) {
                (Some(_), ShardState::TeardownFailed) => {
                    row.reported == *real.unwrap_or(&row.reported)
                }
                (_, ShardState::TearingDown) => false,
                (Some(state), on_record) => on_record == ShardState::from(*state),
                (None, _) => unreported,
            };
            ensure(holds, AGREE, || {
                format!(
                    "{host}/{decky} is {:?} ({:?}) on record, and {real:?} in reality",
                    row.state, row.last_error
                )
            })?;
        }
        for decky in deckies.running().keys() {
            let known = self
                .rows
                .shards
                .contains_key(&(host.clone(), decky.clone()));
            ensure(known, AGREE, || {
                format!("{host}/{decky} runs, and is not on record")
            })?;
        }
        Ok(())
    }
}

fn first() -> scuttle_schemas::DeckyId {
    "0".parse().expect("a valid name")
}
