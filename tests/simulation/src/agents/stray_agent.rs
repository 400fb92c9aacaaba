//! A stray second agent of a host: it has the host's credentials and another data directory, so its
//! boot is later than that of the host's agent. It reports for a while and then ends, and the
//! host's agent must take its place again.

use scuttle_schemas::BootId;

use crate::simulation::{Simulation, note};
use crate::state::agents::host::StrayAgent;
use crate::state::event::Event;

impl Simulation {
    /// Starts a stray agent, unless the host already has one.
    pub(crate) fn start_stray_agent(&mut self, host: usize) {
        if self.agent_hosts[host].stray.is_some() {
            return;
        }
        let wall = self.wall_clock(self.agent_hosts[host].clock);
        let boot_id = BootId(self.rng.next_uuid_v7(wall, &mut 0));
        let until = self.now + self.rng.pick_between(1, 60_000);
        note!(
            self,
            "stray agent of host {host} starts with boot {boot_id}"
        );
        self.agent_hosts[host].stray = Some(StrayAgent {
            boot_id,
            sequence: 0,
            until,
        });
        self.stray_agent_reports(host);
    }

    /// Sends the next heartbeat of a stray agent, or ends the agent.
    pub(crate) fn stray_agent_reports(&mut self, host: usize) {
        let (now, has_ended) = (self.now, self.faults_stopped);
        let ends = |stray: &mut StrayAgent| has_ended || stray.until <= now;
        if self.agent_hosts[host].stray.take_if(ends).is_some() {
            note!(self, "stray agent of host {host} ends");
        }
        let Some(stray) = &mut self.agent_hosts[host].stray else {
            return;
        };
        stray.sequence += 1;
        let (boot_id, sequence) = (stray.boot_id, stray.sequence);
        self.send_foreign_heartbeat(host, boot_id, sequence);
        let interval_ms = self.plan.heartbeat_interval_ms.into();
        self.schedule(interval_ms, Event::StrayHeartbeat(host));
    }
}
