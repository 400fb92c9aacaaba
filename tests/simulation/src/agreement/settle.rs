//! The end of a run: faults stop, all accepted operations must end, and then all participants must
//! agree.

use crate::oracle::violation::{NOTHING_LOST, RECORD_MATCHES, Violation, ensure};
use crate::simulation::{Simulation, note};
use crate::state::clients::subscriber::LISTED_TYPES;
use crate::state::connection::Connection;
use crate::state::event::Event;

/// The interval at which the simulation checks whether the swarm has settled.
const POLL_INTERVAL_MS: u64 = 2_000;

/// The time within which the swarm must have settled, in addition to the longest deadline. It
/// allows for two minutes of clock difference and for twice the longest retry delay.
const SETTLE_TIMEOUT_MS: u64 = 450_000;

impl Simulation {
    /// Ends all faults: repairs disks and servers, restores connections, and starts the processes
    /// that are down. Schedules the first call to [`check_settled`](Self::check_settled).
    pub(crate) fn stop_faults(&mut self) {
        note!(self, "faults stop");
        self.faults_stopped = true;
        for controller in 0..self.controllers.len() {
            self.controllers[controller].disk.repair();
            self.reconnect(Connection::Controller(controller));
            self.schedule(0, Event::StartController(controller));
        }
        for servers in self.servers.iter() {
            servers.fail_next_append(None);
            servers.set_unavailable(false);
        }
        for host in 0..self.agent_hosts.len() {
            self.agent_hosts[host].inventory_fails = false;
            self.agent_hosts[host].file.fail_after(None);
            self.schedule(0, Event::StartAgent(host));
            self.reconnect(Connection::Agent(host));
        }
        // No forged heartbeat arrives after that.
        self.schedule(self.plan.max_delay_ms + 1, Event::ResetAgents);
        self.schedule(POLL_INTERVAL_MS, Event::CheckSettled);
    }

    /// Checks whether the swarm has settled. After a quiet period, checks that all participants
    /// agree, and ends the run. Records a violation if the swarm does not settle in time.
    pub(crate) fn check_settled(&mut self) {
        let checked = self.check_redelivery();
        self.record_check(checked);
        let since = self.now - self.plan.active_ms;
        let open = self.oracle.open_operations().next();
        let waiting = self.agent_hosts.iter().position(|agent_host| {
            let enrolled = self
                .oracle
                .for_host(&agent_host.id)
                .is_enrolled(&agent_host.id);
            let busy = (agent_host.process.as_ref()).is_none_or(|process| {
                !process.teardowns.is_empty() || process.machine.open_results() > 0
            });
            enrolled
                && (busy
                    || !self
                        .oracle
                        .for_host(&agent_host.id)
                        .is_online(&agent_host.id))
        });
        // Delayed messages from before may still arrive.
        let leads = self.each_partition_has_one_leader();
        let is_reset = !self.is_resetting_agents();
        // With many operations, a listing takes longer than the quiet period.
        let mut views = self.subscribers.iter().flat_map(|one| &one.views);
        let is_listing = views.any(|view| view.listing.is_some());
        // The agent of a host with a stray agent continues after the stray one has been silent for
        // three intervals.
        let silence_ms = 4 * u64::from(self.plan.heartbeat_interval_ms);
        if since > self.plan.max_delay_ms + silence_ms
            && open.is_none()
            && waiting.is_none()
            && leads
            && is_reset
            && !is_listing
        {
            if self.oracle.quiet_since == 0 {
                self.oracle.quiet_since = self.now;
            }
            // One heartbeat interval and the debounce before it. For subscribers, one repeated
            // revision.
            let quiet_ms = u64::from(self.plan.heartbeat_interval_ms).max(5_000) + 5_000;
            if self.now - self.oracle.quiet_since > quiet_ms {
                let checked = self.check_agreement();
                self.record_check(checked);
                self.done = true;
                return;
            }
        } else {
            self.oracle.quiet_since = 0;
        }
        if since > SETTLE_TIMEOUT_MS + self.plan.max_timeout_s * 1000 {
            let details = format!(
                "not settled {since} ms after the last fault: open operation {open:?}, busy agent {waiting:?}, each partition has one leader: {leads}, a subscriber lists: {is_listing}"
            );
            self.record_check(Err(Violation::new(NOTHING_LOST, details)));
        }
        self.schedule(POLL_INTERVAL_MS, Event::CheckSettled);
    }

    fn check_agreement(&mut self) -> Result<(), Violation> {
        for oracle in self.oracle.iter() {
            oracle.check_evidence_is_complete()?;
            for id in &oracle.accepted_ids {
                let ended = oracle.record.operations.get(id);
                ensure(ended.is_some(), NOTHING_LOST, || {
                    format!("{id} was accepted, but is not on record")
                })?;
            }
        }
        for agent_host in &self.agent_hosts {
            let oracle = self.oracle.for_host(&agent_host.id);
            if oracle.is_enrolled(&agent_host.id) {
                oracle.check_host(&agent_host.id, &agent_host.deckies)?;
            } else {
                let remaining = oracle
                    .record
                    .shards
                    .keys()
                    .find(|(host, _)| *host == agent_host.id);
                ensure(remaining.is_none(), RECORD_MATCHES, || {
                    format!("{remaining:?} is on record, but its host is not in the swarm")
                })?;
            }
        }
        let lists = self.check_controllers()?;
        for (index, subscriber) in self.subscribers.iter().enumerate() {
            for (subject, list) in lists.iter().enumerate() {
                if let Err(difference) =
                    subscriber.compare_with(subject, list, self.partitioning.count)
                {
                    let details = format!(
                        "subscriber {index}, subject {}: {difference}",
                        LISTED_TYPES[subject].broadcast_subject
                    );
                    return Err(Violation::new(RECORD_MATCHES, details));
                }
            }
        }
        Ok(())
    }
}
