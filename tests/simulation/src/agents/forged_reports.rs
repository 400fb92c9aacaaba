//! Reports that an attacker sends with the credentials of a host's agent. None of them may make
//! the record wrong for ever.

use scuttle_schemas::agents::{
    Heartbeat, HeartbeatAccepted, HeartbeatType, ResultOutcome, TeardownResult, TeardownResultType,
};
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_schemas::{BootId, Text};
use serde_json::json;
use uuid::Uuid;

use crate::oracle::violation::{RECORD_MATCHES, ensure};
use crate::simulation::{Simulation, note};
use crate::state::clients::operators::OpenRequest;

/// The reply subject of a forged report, which no participant subscribes to.
const REPLY_SUBJECT: &str = "_INBOX.x.forged";

const MINUTE_MS: i64 = 60_000;

impl Simulation {
    /// Sends a forged report that the controller must reject, or a heartbeat of a later boot, which
    /// makes the reports of the host's agent stale until the later boot is silent, or until an
    /// operator resets the agent.
    pub(crate) fn forge_report(&mut self, host: usize) {
        match self.rng.pick_below(4) {
            0 => self.forge_heartbeat(host, BootId(Uuid::max())),
            1 => {
                let boot = self.choose_boot_ahead(host, 90, 600);
                self.forge_heartbeat(host, boot);
            }
            2 => {
                let boot = self.choose_boot_ahead(host, 10, 50);
                self.agent_hosts[host].needs_reset = true;
                self.forge_heartbeat(host, boot);
            }
            _ => self.forge_success(host),
        }
    }

    /// Resets the agents whose reports have become stale because of forged heartbeats.
    pub(crate) fn reset_agents(&mut self) {
        for host in 0..self.agent_hosts.len() {
            let agent_host = &self.agent_hosts[host];
            if agent_host.needs_reset
                && self
                    .oracle
                    .for_host(&agent_host.id)
                    .is_enrolled(&agent_host.id)
            {
                let body = json!({ "host_uuid": agent_host.id, "reset_agent": true });
                self.request(subjects::HOSTS_UPDATE, body, None, u32::MAX);
            }
        }
    }

    /// Returns whether a request to reset an agent has no reply yet.
    pub(crate) fn is_resetting_agents(&self) -> bool {
        let mut open = self.operators.open.values();
        open.any(OpenRequest::is_reset)
    }

    /// Notes that the reply to the reset of an agent has arrived. From now on, heartbeats of the
    /// agent's process are not stale.
    pub(crate) fn note_reset(&mut self, host: usize) {
        let agent_host = &mut self.agent_hosts[host];
        let first = agent_host.last_heartbeat + 1;
        agent_host.reset = Some((agent_host.boots, first));
    }

    /// Checks the reply to a heartbeat with this sequence number, of the present process.
    pub(crate) fn check_reply_after_reset(
        &mut self,
        host: usize,
        sequence: u64,
        reply: &HeartbeatAccepted,
    ) {
        let agent_host = &self.agent_hosts[host];
        let is_after_reset = (agent_host.reset)
            .is_some_and(|(boot, first)| boot == agent_host.boots && first <= sequence);
        let has_later_boot = reply.stale && reply.other_agent.is_some();
        let checked = ensure(!(is_after_reset && has_later_boot), RECORD_MATCHES, || {
            format!("heartbeat {sequence} of agent {host} is stale after the agent was reset")
        });
        self.record_check(checked);
    }

    /// Chooses the id of a boot that starts from `min` to `max` minutes from now.
    fn choose_boot_ahead(&mut self, host: usize, min: u64, max: u64) -> BootId {
        let minutes = self.rng.pick_between(min, max).cast_signed();
        let wall = self.wall_clock(self.agent_hosts[host].clock);
        let started_at = wall.plus_millis(minutes * MINUTE_MS);
        BootId(self.rng.next_uuid_v7(started_at, &mut 0))
    }

    fn forge_heartbeat(&mut self, host: usize, boot_id: BootId) {
        note!(self, "forged heartbeat of host {host} with boot {boot_id}");
        self.send_foreign_heartbeat(host, boot_id, 1);
    }

    /// Sends a heartbeat, without an inventory, of a boot that is not one of the host's agent.
    pub(crate) fn send_foreign_heartbeat(&mut self, host: usize, boot_id: BootId, sequence: u64) {
        let id = self.agent_hosts[host].id.clone();
        let heartbeat = Heartbeat {
            kind: HeartbeatType,
            host_uuid: id.clone(),
            agent_version: Text::from("foreign"),
            boot_id,
            sequence,
            sent_at: None,
            interval_ms: self.plan.heartbeat_interval_ms,
            page: 1,
            pages: 1,
            shards: None,
            inventory_error: None,
            notes: Vec::new(),
        };
        let subject = AgentChannel::Heartbeat.subject(&id);
        self.send_from_agent(host, &subject, Some(REPLY_SUBJECT), None, &heartbeat);
    }

    /// Reports success for an open operation on a single decky, but leaves the decky out of the
    /// report.
    fn forge_success(&mut self, host: usize) {
        let id = self.agent_hosts[host].id.clone();
        let operations = self.oracle.for_host(&id).record.operations.values();
        let is_target = |state| matches!(state, OperationState::Queued | OperationState::Running);
        let open: Vec<_> = operations
            .filter(|row| row.host == id && row.decky.is_some() && is_target(row.state))
            .map(|row| row.id)
            .collect();
        let Some(operation_id) = self.rng.choose(&open).copied() else {
            return;
        };
        note!(self, "forged success of {operation_id}");
        let now = self.wall_clock(self.agent_hosts[host].clock);
        let result = TeardownResult {
            kind: TeardownResultType,
            operation_id,
            host_uuid: id.clone(),
            boot_id: BootId(self.rng.next_uuid_v7(now, &mut 0)),
            sequence: 1,
            outcome: ResultOutcome::Succeeded,
            error: None,
            shards: Vec::new(),
            started_at: now,
            finished_at: now,
        };
        let subject = AgentChannel::Results.subject(&id);
        self.send_from_agent(host, &subject, Some(REPLY_SUBJECT), None, &result);
    }
}
