//! Log lines about operations and hosts, written when a change is durable.
//!
//! Events that every teardown causes have level `debug`, because there can be tens of thousands of
//! them per second and the audit log contains each accepted request. Events that an operator may
//! have to look into have level `info` or `warn` and are rate-limited.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use scuttle_core::{Effect, State};
use scuttle_schemas::agents::AgentCommand;
use scuttle_schemas::hosts::{HostRecord, HostStatus};
use scuttle_schemas::operations::{OperationRecord, OperationState, explain_error};
use scuttle_schemas::{HostId, Text};
use tracing::{debug, info, warn};

/// The maximum number of `info` and `warn` lines per second. The limit keeps the log short when a
/// thousand hosts go offline together, and prevents agents from filling it.
const MAX_LINES_PER_SECOND: u32 = 100;

/// A log of what happens to operations and hosts, with a limited rate of lines.
#[derive(Debug)]
pub struct EventLog {
    /// The last known status of each host.
    statuses: HashMap<HostId, HostStatus>,
    second: Instant,
    written: u32,
    suppressed: u64,
}

impl EventLog {
    /// Creates a log that knows the statuses in `state`, so that only later changes are logged.
    pub fn new(state: &State) -> Self {
        let statuses = state
            .host_statuses()
            .map(|(host, status)| (host.clone(), status));
        Self {
            statuses: statuses.collect(),
            second: Instant::now(),
            written: 0,
            suppressed: 0,
        }
    }

    /// Logs the changes in a broadcast. Ignores other effects.
    pub fn log_effect(&mut self, effect: &Effect) {
        match effect {
            Effect::OperationsUpdated(message, _) => {
                for operation in &message.updated {
                    self.log_operation(operation);
                }
            }
            Effect::HostsUpdated(message) => {
                for host in &message.updated {
                    self.log_host(host);
                }
            }
            Effect::Quarantine {
                host: host_uuid,
                quarantined: true,
            } => warn!(
                %host_uuid,
                "host quarantined: its agent sends malformed messages, so its reports are dropped; check what runs on the host, then readmit it with `scuttle enroll NAME --renew` or `scuttle host set NAME --reset-agent`"
            ),
            Effect::Quarantine {
                host: host_uuid,
                quarantined: false,
            } => info!(%host_uuid, "host readmitted: its reports are read again"),
            // The leader of the other partition logs the events of its hosts.
            Effect::Relayed { .. } | Effect::Command { .. } | Effect::ShardsUpdated(..) => {}
        }
    }

    fn log_operation(&mut self, operation: &OperationRecord) {
        let OperationRecord {
            operation_id,
            host_uuid,
            host_name: name,
            decky_id,
            attempts,
            ..
        } = operation;
        let decky_id = decky_id.as_ref().map(tracing::field::display);
        // Log the agent's text as a string, because the log escapes strings.
        let error = operation.error.as_ref().map(Text::as_str);
        let error = error.map(explain_error);
        let error = error.as_deref();
        match operation.state {
            // The acceptance was logged before, and `log_command` logs every resend.
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
            OperationState::Failed if self.take_line() => {
                warn!(%operation_id, %host_uuid, %name, decky_id, attempts, error, "operation failed");
            }
            OperationState::TimedOut if self.take_line() => {
                warn!(%operation_id, %host_uuid, %name, decky_id, attempts, error, "operation timed out");
            }
            OperationState::Cancelled if self.take_line() => {
                info!(%operation_id, %host_uuid, %name, decky_id, "operation cancelled");
            }
            OperationState::Failed | OperationState::TimedOut | OperationState::Cancelled => {}
        }
    }

    /// Logs the host's status if it has changed and another line is allowed.
    fn log_host(&mut self, host: &HostRecord) {
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
        if before == Some(*status) || !self.take_line() {
            return;
        }
        match status {
            HostStatus::Enrolled => info!(%host_uuid, %name, "host enrolled"),
            HostStatus::Online => info!(%host_uuid, %name, "host online"),
            HostStatus::Offline => warn!(%host_uuid, %name, "host offline"),
            HostStatus::Decommissioned => info!(%host_uuid, %name, "host decommissioned"),
        }
    }

    /// Returns whether another line may be written in this second, and counts the line. At the
    /// start of a new second, first logs the number of lines that were suppressed.
    fn take_line(&mut self) -> bool {
        if self.second.elapsed() >= Duration::from_secs(1) {
            let suppressed = std::mem::take(&mut self.suppressed);
            if suppressed > 0 {
                warn!(
                    "suppressed {suppressed} log lines about operations and hosts: too many in one second"
                );
            }
            (self.second, self.written) = (Instant::now(), 0);
        }
        let allowed = self.written < MAX_LINES_PER_SECOND;
        self.written += u32::from(allowed);
        self.suppressed += u64::from(!allowed);
        allowed
    }
}

/// Logs that a command is being sent.
pub fn log_command(command: &AgentCommand) {
    match command {
        AgentCommand::Teardown(command) => {
            let decky_id = command.decky_id.as_ref().map(tracing::field::display);
            debug!(operation_id = %command.operation_id, host_uuid = %command.host_uuid, decky_id, attempt = command.attempt, "command sent");
        }
        AgentCommand::Cancel(command) => {
            debug!(operation_id = %command.operation_id, host_uuid = %command.host_uuid, "cancel command sent");
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

    use super::{EventLog, MAX_LINES_PER_SECOND};

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no other test panicked").write(bytes)
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

    /// Logs one message for each status. Returns the number of lines that were written, and the
    /// duration in seconds, rounded up.
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
        let written = log.0.lock().expect("no other test panicked");
        let lines = String::from_utf8_lossy(&written).lines().count();
        (lines as u32, start.elapsed().as_secs() as u32 + 1)
    }

    #[test]
    fn only_a_changed_host_status_is_logged() {
        let again = [HostStatus::Online, HostStatus::Online, HostStatus::Offline];
        assert_eq!(lines(again.into_iter()).0, 2);
    }

    #[test]
    fn a_flapping_host_does_not_fill_the_log() {
        let flapping = [HostStatus::Online, HostStatus::Offline]
            .into_iter()
            .cycle();
        let (lines, seconds) = lines(flapping.take(50 * MAX_LINES_PER_SECOND as usize));
        assert!(lines >= MAX_LINES_PER_SECOND, "{lines}");
        // One more line per second states the number of suppressed lines.
        assert!(
            lines <= seconds * (MAX_LINES_PER_SECOND + 1),
            "{lines} in {seconds} s"
        );
    }
}
