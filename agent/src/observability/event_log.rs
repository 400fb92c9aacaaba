//! The log lines for the events of the machine.

use scuttle_schemas::{HostId, Text, truncate_chars};
use tracing::field::display;

use crate::machine::{AgentEvent, IgnoreReason};

/// Logs an event of the machine.
pub(crate) fn log_event(host: &HostId, event: AgentEvent) {
    let host_uuid = host;
    match event {
        AgentEvent::CommandReceived | AgentEvent::HeartbeatAccepted { .. } => {}
        AgentEvent::CommandIgnored(reason) => log_ignored(host, &reason),
        AgentEvent::OperationCancelled(operation_id) => {
            tracing::info!(%operation_id, %host_uuid, "operation cancelled");
        }
        AgentEvent::CommandExpired {
            operation_id,
            decky_id,
        } => {
            let decky_id = decky_id.as_ref().map(display);
            tracing::warn!(%operation_id, %host_uuid, decky_id, "did not start a teardown: its deadline has passed");
        }
        AgentEvent::TeardownStarted {
            operation_id,
            decky_id,
            resumed,
        } => {
            let decky_id = decky_id.as_ref().map(display);
            tracing::info!(%operation_id, %host_uuid, decky_id, resumed, "teardown started");
        }
        AgentEvent::TeardownFinished {
            operation_id,
            decky_id,
            outcome,
            error,
        } => {
            let decky_id = decky_id.as_ref().map(display);
            let error = error.as_ref().map(Text::as_str);
            tracing::info!(%operation_id, %host_uuid, decky_id, ?outcome, error, "teardown finished");
        }
        AgentEvent::ResultRecorded {
            operation_id,
            detail,
        } => {
            let detail = detail.as_deref().map(|detail| truncate_chars(detail, 128));
            tracing::info!(%operation_id, %host_uuid, detail = detail.as_deref(), "result recorded");
        }
        AgentEvent::ResultRejected {
            operation_id,
            error,
        } => {
            let reason = truncate_chars(&error.message, 512);
            tracing::warn!(%operation_id, %host_uuid, code = ?error.code, %reason, "the controller rejected a result; it is resent");
        }
        AgentEvent::ReportsStale => tracing::error!(
            %host_uuid,
            "two agents report for this host, and the controller ignores this one, which started earlier; stop one of the two"
        ),
        AgentEvent::OtherAgentReports => tracing::error!(
            %host_uuid,
            "two agents report for this host, and the controller ignores the other, which started earlier; stop one of the two"
        ),
        AgentEvent::BootReplaced { silent } => {
            let started_at = silent.started_at();
            tracing::warn!(%host_uuid, %started_at, "the other agent of this host no longer reports; this agent takes its place");
        }
        AgentEvent::HostRejected { code, message } => {
            let reason = truncate_chars(&message, 512);
            tracing::error!(%host_uuid, ?code, %reason, "the controller rejects this host's heartbeats; enroll the host, or stop this agent");
        }
        AgentEvent::ControllerSilent => {
            tracing::warn!(%host_uuid, "no controller replies; heartbeats and results are resent until one does");
        }
        AgentEvent::ControllerBack => tracing::info!(%host_uuid, "the controller replies again"),
        AgentEvent::InventoryUnreadable(reason) => {
            tracing::warn!(%host_uuid, %reason, "cannot read the inventory; heartbeats are sent without it");
        }
    }
}

fn log_ignored(host_uuid: &HostId, reason: &IgnoreReason) {
    match reason {
        IgnoreReason::OtherHost(operation_id) => {
            tracing::warn!(%operation_id, %host_uuid, "ignored a command that names another host");
        }
        IgnoreReason::OldEpoch {
            operation_id,
            epoch,
            highest,
        } => {
            tracing::warn!(%operation_id, %host_uuid, epoch, highest, "ignored a command from an earlier controller");
        }
        IgnoreReason::QueueFull(operation_id) => {
            tracing::warn!(%operation_id, %host_uuid, "ignored a command: the queue is full; the controller will resend it");
        }
        IgnoreReason::CancelTooLate(operation_id) => {
            tracing::info!(%operation_id, %host_uuid, "ignored a cancel command: the teardown has already started");
        }
        IgnoreReason::AlreadyCancelled(operation_id) => {
            tracing::info!(%operation_id, %host_uuid, "ignored a late command: its operation was cancelled");
        }
    }
}
