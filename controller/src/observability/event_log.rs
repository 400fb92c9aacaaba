//! The log's lines about operations and hosts: what was decided and is durable, as it is told to everybody. What every
//! teardown brings about is for `debug`, since there are tens of thousands a second, and the audit log has each; what somebody
//! may have to look into is for `info`, as long as it is not too much.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use scuttle_core::{Effect, State};
use scuttle_schemas::agents::AgentCommand;
use scuttle_schemas::hosts::{HostRecord, HostStatus};
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::{HostId, Text};
use tracing::{debug, info, warn};

/// The most lines in a second that are not for `debug`: a thousand hosts may go away together, and an agent may come and
/// go as it likes. Nobody else decides how much is logged.
const MOST: u32 = 100;

/// Writes the lines.
#[derive(Debug)]
pub struct EventLog {
    /// What was last said of each host.
    statuses: HashMap<HostId, HostStatus>,
    second: Instant,
    written: u32,
    left_out: u64,
}

impl EventLog {
    /// For what happens from this state on.
    pub fn new(state: &State) -> Self {
        let statuses = state
            .host_statuses()
            .map(|(host, status)| (host.clone(), status));
        Self {
            statuses: statuses.collect(),
            second: Instant::now(),
            written: 0,
            left_out: 0,
        }
    }

    /// Writes what an effect tells.
    pub fn log_effect(&mut self, effect: &Effect) {
        match effect {
            Effect::OperationsUpdated(message, _) => {
                for operation in &message.updated {
                    self.operation(operation);
                }
            }
            Effect::HostsUpdated(message) => {
                for host in &message.updated {
                    self.host(host);
                }
            }
            // Of another partition's hosts, its leader writes.
            Effect::Relayed { .. } | Effect::Command { .. } | Effect::ShardsUpdated(..) => {}
        }
    }

    fn operation(&mut self, operation: &OperationRecord) {
        let OperationRecord {
            operation_id,
            host_uuid,
            decky_id,
            attempts,
            ..
        } = operation;
        let decky_id = decky_id.as_ref().map(tracing::field::display);
        // As a string, which the log escapes: it is the agent's word.
        let error = operation.error.as_ref().map(Text::as_str);
        match operation.state {
            // It was told before; that its command was sent again is told by `sent`.
            OperationState::Queued if *attempts > 1 => {}
            OperationState::Queued => {
                let who = operation.requested_by.as_str();
                debug!(%operation_id, %host_uuid, decky_id, who, "operation accepted");
            }
            OperationState::Running => {
                debug!(%operation_id, %host_uuid, decky_id, "operation running");
            }
            OperationState::Succeeded => {
                debug!(%operation_id, %host_uuid, decky_id, attempts, "operation succeeded");
            }
            OperationState::Failed if self.may_write() => {
                warn!(%operation_id, %host_uuid, decky_id, attempts, error, "operation failed");
            }
            OperationState::TimedOut if self.may_write() => {
                warn!(%operation_id, %host_uuid, decky_id, attempts, error, "operation timed out");
            }
            OperationState::Cancelled if self.may_write() => {
                info!(%operation_id, %host_uuid, decky_id, "operation cancelled");
            }
            OperationState::Failed | OperationState::TimedOut | OperationState::Cancelled => {}
        }
    }

    /// A host is told for many reasons; only another status is news.
    fn host(&mut self, host: &HostRecord) {
        let HostRecord {
            host_uuid,
            name,
            status,
            ..
        } = host;
        let before = match self.statuses.get_mut(host_uuid) {
            Some(known) => Some(std::mem::replace(known, *status)),
            None => self.statuses.insert(host_uuid.clone(), *status),
        };
        if before == Some(*status) || !self.may_write() {
            return;
        }
        match status {
            HostStatus::Enrolled => info!(%host_uuid, %name, "host enrolled"),
            HostStatus::Online => info!(%host_uuid, %name, "host online"),
            HostStatus::Offline => warn!(%host_uuid, %name, "host offline"),
            HostStatus::Decommissioned => info!(%host_uuid, %name, "host decommissioned"),
        }
    }

    /// Whether there is room for one more line; says how many there were too many of, once there is room again.
    fn may_write(&mut self) -> bool {
        if self.second.elapsed() >= Duration::from_secs(1) {
            let left_out = std::mem::take(&mut self.left_out);
            if left_out > 0 {
                warn!(
                    "{left_out} lines about operations and hosts were left out: they were too many"
                );
            }
            (self.second, self.written) = (Instant::now(), 0);
        }
        let room = self.written < MOST;
        self.written += u32::from(room);
        self.left_out += u64::from(!room);
        room
    }
}

/// Writes that a command was sent.
pub fn log_command(command: &AgentCommand) {
    match command {
        AgentCommand::Teardown(command) => {
            let decky_id = command.decky_id.as_ref().map(tracing::field::display);
            debug!(operation_id = %command.operation_id, host_uuid = %command.host_uuid, decky_id, attempt = command.attempt, "command sent");
        }
        AgentCommand::Cancel(command) => {
            debug!(operation_id = %command.operation_id, host_uuid = %command.host_uuid, "withdrawal sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use scuttle_core::{Effect, State};
    use scuttle_schemas::hosts::{HostStatus, HostsUpdated};
    use serde_json::json;
    use tracing_subscriber::fmt::MakeWriter;

    use super::{EventLog, MOST};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panicked").write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Log {
        type Writer = Self;
        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// The lines that many messages about one host make, and the seconds that they took at the most.
    fn lines(statuses: impl Iterator<Item = HostStatus>) -> (u32, u32) {
        let mut message: HostsUpdated = serde_json::from_value(json!({
            "type": "scuttle.v1.hosts_updated", "revision": 1, "at": "2026-11-23T09:11:49.000Z",
            "updated": [{
                "host_uuid": "worker-a", "name": "worker-a", "address": null, "labels": {},
                "status": "enrolled", "last_heartbeat": null, "agent_version": null,
                "inventory_error": null, "shards": 0, "open_operations": 0,
                "enrolled_at": "2026-11-23T09:11:49.000Z",
            }],
        }))
        .expect("a message");
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).finish();
        let start = Instant::now();
        tracing::subscriber::with_default(subscriber, || {
            let mut events = EventLog::new(&State::default());
            for status in statuses {
                message.updated[0].status = status;
                events.log_effect(&Effect::HostsUpdated(message.clone()));
            }
        });
        let written = log.0.lock().expect("nobody panicked");
        let lines = String::from_utf8_lossy(&written).lines().count();
        (lines as u32, start.elapsed().as_secs() as u32 + 1)
    }

    #[test]
    fn only_another_status_is_told() {
        let again = [HostStatus::Online, HostStatus::Online, HostStatus::Offline];
        assert_eq!(lines(again.into_iter()).0, 2);
    }

    #[test]
    fn a_host_that_comes_and_goes_does_not_fill_the_log() {
        let flapping = [HostStatus::Online, HostStatus::Offline]
            .into_iter()
            .cycle();
        let (lines, seconds) = lines(flapping.take(50 * MOST as usize));
        assert!(lines >= MOST, "{lines}");
        // And one that tells how many were left out.
        assert!(lines <= seconds * (MOST + 1), "{lines} in {seconds} s");
    }
}
