//! Sends the commands of operations, and decides when to send them again.
//!
//! A command is sent again while its host is online and the current boot of the host's agent has
//! not acknowledged the command. When a host returns, when its agent restarts, and when this
//! process starts, all commands of the host are sent again, at most once in
//! [`FULL_RESEND_INTERVAL_MS`].

use scuttle_schemas::agents::{AgentCommand, CancelCommand, TeardownCommand};
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::OperationState;
use scuttle_schemas::{BootId, HostId, OperationId, Timestamp};

use crate::api::Effect;
use crate::record::operation_state::is_open;
use crate::record::rows::OperationRow;
use crate::state::State;
use crate::state::timers::Timer;
use crate::time::backoff::{MAX_DELAY_MS, retry_delay_ms};

/// The minimum interval between two full resends to one host, in milliseconds.
pub(crate) const FULL_RESEND_INTERVAL_MS: i64 = 5_000;

impl State {
    /// Adds the teardown command of an operation to the batch, and schedules its retry.
    pub(crate) fn send_command(&mut self, now: Timestamp, row: &OperationRow) {
        let Some(host) = self.hosts.get_mut(&row.host) else {
            return;
        };
        let delivery = host.deliveries.entry(row.id).or_default();
        delivery.attempts += 1;
        self.stats.events.retries += u64::from(delivery.attempts > 1);
        let command = TeardownCommand {
            operation_id: row.id,
            host_uuid: row.host.clone(),
            decky_id: row.decky.clone(),
            attempt: delivery.attempts,
            controller_epoch: self.meta.epoch,
            not_after: row.deadline,
            override_protection: row.override_protection,
        };
        self.batch.effects.push(Effect::Command {
            host: row.host.clone(),
            command: AgentCommand::Teardown(command),
            trace: row.trace.clone(),
        });
        self.schedule_retry(now, row);
    }

    /// Sends the first cancel command of an operation. Resets the delivery first, because the
    /// acknowledgement of the teardown command does not apply to the cancel command.
    pub(crate) fn send_new_cancel_command(&mut self, now: Timestamp, row: &OperationRow) {
        let host = self.hosts.get_mut(&row.host);
        if let Some(delivery) = host.and_then(|host| host.deliveries.get_mut(&row.id)) {
            delivery.unanswered = 0;
            delivery.is_received = false;
        }
        self.send_cancel_command(now, row);
    }

    /// Adds the cancel command of an operation to the batch, so that the agent does not start the
    /// operation, and schedules its retry.
    pub(crate) fn send_cancel_command(&mut self, now: Timestamp, row: &OperationRow) {
        self.batch.effects.push(Effect::Command {
            host: row.host.clone(),
            command: AgentCommand::Cancel(CancelCommand {
                operation_id: row.id,
                host_uuid: row.host.clone(),
                controller_epoch: self.meta.epoch,
            }),
            trace: row.trace.clone(),
        });
        self.schedule_retry(now, row);
    }

    /// Schedules the next retry of a command that is sent now. A command to a host that is not
    /// online has no retry: it is sent again when the host returns.
    fn schedule_retry(&mut self, now: Timestamp, row: &OperationRow) {
        let Some(host) = self.hosts.get_mut(&row.host) else {
            return;
        };
        let is_online = host.row.status == HostStatus::Online;
        let Some(delivery) = host.deliveries.get_mut(&row.id) else {
            return;
        };
        delivery.unanswered += 1;
        let delay_ms = retry_delay_ms(row.id, delivery.unanswered);
        let at = is_online.then(|| now.plus_millis(delay_ms));
        delivery.schedule(&mut self.timers, row.id, at);
    }

    /// Sends a command again whose retry is due, unless its host is no longer online.
    pub(crate) fn retry_command(&mut self, now: Timestamp, id: OperationId) {
        let Some(row) = self.operations.get(&id).cloned() else {
            return;
        };
        let Some(host) = self.hosts.get_mut(&row.host) else {
            return;
        };
        let Some(delivery) = host.deliveries.get_mut(&id) else {
            return;
        };
        delivery.schedule(&mut self.timers, id, None);
        if host.row.status != HostStatus::Online {
            return;
        }
        if is_open(row.state) {
            self.send_command(now, &row);
        } else if row.state == OperationState::Cancelled {
            self.send_cancel_command(now, &row);
        }
    }

    /// Records that the agent has the command of an operation. The command is not sent again during
    /// this boot of the agent.
    pub(crate) fn acknowledge_command(&mut self, host: &HostId, id: OperationId) {
        let host = self.hosts.get_mut(host);
        if let Some(delivery) = host.and_then(|host| host.deliveries.get_mut(&id)) {
            delivery.is_received = true;
            delivery.schedule(&mut self.timers, id, None);
        }
    }

    /// Sends all commands of an online host again when this process starts. The next heartbeat of
    /// the same boot causes no further full resend.
    pub(crate) fn resend_at_start(&mut self, now: Timestamp, id: &HostId) {
        if let Some(host) = self.hosts.get_mut(id) {
            host.resent_to = host.row.applied.map(|report| report.boot);
            self.resend_all(now, id);
        }
    }

    /// Sends all commands of a host again, oldest first, because the host is back online or its
    /// agent has restarted as `boot`. If the last full resend is too recent, remembers the request
    /// and does it later.
    pub(crate) fn request_full_resend(&mut self, now: Timestamp, id: &HostId, boot: BootId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        host.resent_to = Some(boot);
        let last = host.last_full_resend_at;
        match last.map(|at| at.plus_millis(FULL_RESEND_INTERVAL_MS)) {
            Some(earliest) if earliest > now => {
                if host.full_resend_due_at.is_none() {
                    host.full_resend_due_at = Some(earliest);
                    let timer = Timer::FullResend(id.clone());
                    self.timers.insert((earliest, timer));
                }
            }
            _ => self.resend_all(now, id),
        }
    }

    /// Runs a full resend that was remembered, unless the host is no longer online.
    pub(crate) fn run_full_resend(&mut self, now: Timestamp, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        host.full_resend_due_at = None;
        if host.row.status == HostStatus::Online {
            self.resend_all(now, id);
        }
    }

    /// Makes the retries of all commands of a host due now. The next ticks send the commands in
    /// small batches, so that thousands of commands do not delay other requests.
    fn resend_all(&mut self, now: Timestamp, id: &HostId) {
        let Some(host) = self.hosts.get_mut(id) else {
            return;
        };
        if let Some(at) = host.full_resend_due_at.take() {
            self.timers.remove(&(at, Timer::FullResend(id.clone())));
        }
        if host.deliveries.is_empty() {
            return;
        }
        let last = host.last_full_resend_at.replace(now);
        // The commands of an agent that restarts all the time keep their long retry delays.
        let resets_delay = last.is_none_or(|at| at.plus_millis(MAX_DELAY_MS.cast_signed()) <= now);
        for (operation, delivery) in &mut host.deliveries {
            delivery.is_received = false;
            if resets_delay {
                delivery.unanswered = 0;
            }
            delivery.schedule(&mut self.timers, *operation, Some(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::agents::{AgentCommand, ProgressStep};
    use scuttle_schemas::operations::OperationState;

    use crate::api::Effect;
    use crate::record::rows::ReportId;
    use crate::tests::scenario::{Scenario, report};

    /// Returns a swarm whose host `h` is online with the deckies `a` and `b`.
    fn swarm_with_host() -> Scenario {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat("h", report(7, 1), Some(&["a", "b"]));
        swarm
    }

    /// Counts the teardown commands and the cancel commands.
    fn count_commands(effects: &[Effect]) -> (usize, usize) {
        let count = |wanted: fn(&AgentCommand) -> bool| {
            let commands = effects.iter().filter_map(|effect| match effect {
                Effect::Command { command, .. } => Some(command),
                _ => None,
            });
            commands.filter(|command| wanted(command)).count()
        };
        (
            count(|command| matches!(command, AgentCommand::Teardown(_))),
            count(|command| matches!(command, AgentCommand::Cancel(_))),
        )
    }

    #[test]
    fn a_retry_is_neither_stored_nor_broadcast() {
        let mut swarm = swarm_with_host();
        let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
        swarm.advance_ms(1_000);
        let (stored, revision) = (swarm.journal.len(), swarm.state.meta.revisions.operations);
        let effects = swarm.advance_ms(20_000);
        assert!(count_commands(&effects).0 > 1);
        assert_eq!(swarm.journal.len(), stored);
        assert_eq!(swarm.state.meta.revisions.operations, revision);
        assert!(swarm.operation(accepted.operation_id).attempts > 2);
    }

    #[test]
    fn an_acknowledged_command_is_sent_again_only_to_a_new_boot() {
        let mut swarm = swarm_with_host();
        let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
        let id = accepted.operation_id;
        let stored = swarm.journal.len();
        let effects = swarm.report_received("h", 7, id);
        assert_eq!((effects.len(), swarm.journal.len()), (0, stored));
        let operation = swarm.operation(id);
        assert_eq!(operation.state, OperationState::Queued);
        let waiting = operation.waiting_for.expect("open");
        assert!(waiting.detail.contains("has received"), "{waiting:?}");
        assert_eq!(waiting.next_attempt_at, None);
        let effects = swarm.advance_online_ms("h", report(7, 1), 100_000);
        assert_eq!(count_commands(&effects).0, 0);

        let (_, effects) = swarm.heartbeat("h", report(8, 1), None);
        assert_eq!(count_commands(&effects).0, 1, "the new boot has no command");
        // A late acknowledgement of the old boot does not count.
        swarm.report_received("h", 7, id);
        assert!(count_commands(&swarm.advance_ms(3_000)).0 > 0);
        swarm.report_received("h", 8, id);
        assert_eq!(count_commands(&swarm.advance_ms(20_000)).0, 0);
    }

    /// The result of a new boot may arrive before its first heartbeat.
    #[test]
    fn a_result_of_a_new_boot_does_not_hide_the_restart() {
        let mut swarm = swarm_with_host();
        let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
        let (two, _) = swarm.teardown("h", Some("b")).expect("accepted");
        swarm.report_received("h", 7, one.operation_id);
        swarm.report_received("h", 7, two.operation_id);
        swarm.report_result("h", report(8, 1), one.operation_id, None, &[("a", None)]);
        let (_, effects) = swarm.heartbeat("h", report(8, 2), None);
        assert_eq!(count_commands(&effects).0, 1);
    }

    #[test]
    fn nothing_is_sent_again_while_the_host_is_offline() {
        let mut swarm = swarm_with_host();
        let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
        swarm.advance_ms(31_000);
        assert_eq!(count_commands(&swarm.advance_ms(200_000)), (0, 0));
        swarm.crash_and_restart();
        assert_eq!(count_commands(&swarm.advance_ms(200_000)), (0, 0));
        let (_, effects) = swarm.heartbeat("h", report(7, 2), None);
        assert_eq!(count_commands(&effects), (1, 0), "the host is back");
        assert!(swarm.operation(accepted.operation_id).attempts > 1);
    }

    #[test]
    fn a_start_sends_the_commands_of_online_hosts_once() {
        let mut swarm = swarm_with_host();
        let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
        swarm.report_received("h", 7, accepted.operation_id);
        let effects = swarm.crash_and_restart();
        assert_eq!(count_commands(&effects), (1, 0));
        swarm.report_received("h", 7, accepted.operation_id);
        let effects = swarm.advance_online_ms("h", report(7, 1), 60_000);
        assert_eq!(count_commands(&effects), (0, 0));
    }

    #[test]
    fn a_flood_of_boots_causes_one_full_resend_in_five_seconds() {
        const OPEN: usize = 200;
        const BOOTS: u32 = 400;
        let mut swarm = swarm_with_host();
        let names: Vec<String> = (0..OPEN).map(|number| format!("d-{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        swarm.heartbeat("h", report(7, 2), Some(&names));
        for name in &names {
            let (accepted, _) = swarm.teardown("h", Some(name)).expect("accepted");
            swarm.report_received("h", 7, accepted.operation_id);
        }
        swarm.advance_ms(2_000);
        let stored = swarm.journal.len();
        let (mut sent, mut announced) = (0, 0);
        let mut count = |effects: &[Effect]| {
            sent += count_commands(effects).0;
            let hosts = effects.iter().filter(|effect| match effect {
                Effect::HostsUpdated(message) => !message.updated.is_empty(),
                Effect::OperationsUpdated(message, _) => !message.updated.is_empty(),
                _ => false,
            });
            announced += hosts.count();
        };
        // Heartbeats of 0.2 s, each with a new boot.
        for boot in 0..BOOTS {
            let first = report(8 + u128::from(boot), 1);
            count(&swarm.heartbeat("h", first, None).1);
            count(&swarm.advance_ms(i64::from(boot % 2 == 0)));
        }
        while swarm.state.next_deadline() <= swarm.now {
            count(&swarm.advance_ms(0));
        }
        assert_eq!(sent, OPEN, "one full resend");
        assert_eq!(announced, 0);
        assert_eq!(swarm.journal.len(), stored, "nothing is stored");
        // The last boot gets its commands when the 5 s are over, although it sends nothing more.
        swarm.advance_ms(super::FULL_RESEND_INTERVAL_MS - 300);
        let effects = swarm.advance_ms(200);
        assert!(count_commands(&effects).0 >= OPEN, "the remembered resend");
    }

    #[test]
    fn a_cancel_command_is_sent_again_until_the_agent_acknowledges_it() {
        let mut swarm = swarm_with_host();
        let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
        let id = accepted.operation_id;
        swarm.try_cancel(id);
        // A late acknowledgement of the teardown command.
        swarm.report_received("h", 7, id);
        assert!(count_commands(&swarm.advance_ms(5_000)).1 > 0);
        swarm.report_step("h", 7, id, ProgressStep::Received, true);
        let effects = swarm.advance_online_ms("h", report(7, 1), 60_000);
        assert_eq!(count_commands(&effects), (0, 0));
        let (_, effects) = swarm.heartbeat("h", report(8, 1), None);
        assert_eq!(count_commands(&effects), (0, 1), "a new boot");
        let last = report(8, 1);
        swarm.advance_online_ms("h", last, 600_000);
        let (_, effects) = swarm.heartbeat(
            "h",
            ReportId {
                sequence: 999,
                ..last
            },
            None,
        );
        assert_eq!(count_commands(&effects), (0, 0), "after the deadline");
    }
}
