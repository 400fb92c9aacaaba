//! The rule for repeated commands: an agent that has restarted gets the command of every open
//! operation again, and a command that is lost is sent again until it arrives.
//!
//! The oracle cannot determine when the controller treats a host as online again. It therefore
//! checks the rule only after the faults have stopped, with enough time for elections, heartbeats
//! and retries.

use scuttle_schemas::operations::OperationState;

use crate::oracle::partition::host_index;
use crate::oracle::violation::{NOTHING_LOST, Violation};
use crate::simulation::Simulation;

/// The time in milliseconds within which a command must be sent to the current boot of an agent: an
/// election, a heartbeat, the interval between two full resends, and a margin.
const SEND_TIMEOUT_MS: u64 = 40_000;

/// The time in milliseconds within which a command must arrive: as above, and the longest retry
/// delay.
const ARRIVAL_TIMEOUT_MS: u64 = SEND_TIMEOUT_MS + 65_000;

impl Simulation {
    /// Checks that the current boot of every agent that is online has the commands of all open
    /// operations of its host. Call it only after the faults have stopped.
    pub(crate) fn check_redelivery(&mut self) -> Result<(), Violation> {
        let stopped_at = self.plan.active_ms;
        let mut open = Vec::new();
        for oracle in self.oracle.iter() {
            for row in oracle.record.operations.values() {
                let is_open = matches!(row.state, OperationState::Queued | OperationState::Running);
                if is_open && oracle.is_online(&row.host) {
                    let accepted_at = oracle.accepted_at.get(&row.id).copied();
                    open.push((
                        row.id,
                        host_index(&row.host),
                        accepted_at.unwrap_or(self.now),
                    ));
                }
            }
        }
        for (id, host, accepted_at) in open {
            let agent_host = self.agent_hosts.get(host);
            let Some(process) = agent_host.and_then(|host| host.process.as_ref()) else {
                continue;
            };
            let since = stopped_at.max(process.started_at).max(accepted_at);
            let waited_ms = self.now.saturating_sub(since);
            let history = self.oracle.agent_history(host);
            if history.has_ended(id) {
                continue;
            }
            let commands = &history.boot_commands;
            let is_sent = commands.sent.contains(&id);
            let has_arrived = commands.arrived.contains(&id);
            if (waited_ms > SEND_TIMEOUT_MS && !is_sent)
                || (waited_ms > ARRIVAL_TIMEOUT_MS && !has_arrived)
            {
                return Err(Violation::new(
                    NOTHING_LOST,
                    format!(
                        "{waited_ms} ms after the last start of agent {host} or the last fault, the command of the open operation {id} was not sent again (sent: {is_sent}, arrived: {has_arrived})"
                    ),
                ));
            }
        }
        Ok(())
    }
}
