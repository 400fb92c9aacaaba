//! The record of an operation for operators, with `waiting_for`: the reason why an open operation
//! has not ended.

use std::borrow::Cow;

use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::{OperationRecord, OperationState, WaitingFor};
use scuttle_schemas::{OperationId, Timestamp};

use crate::record::rows::OperationRow;
use crate::state::State;
use crate::state::delivery::Delivery;
use crate::state::host::Host;

/// The `what` of an operation whose agent is not online, or has not started the operation yet.
const AGENT: &str = "agent";
/// The `what` of an operation that waits until its agent finishes another operation of the host.
const OPERATION: &str = "operation";
/// The `what` of an operation that its agent has started, while the agent cannot read the deckies
/// of its host, for example because Docker is unavailable.
const RUNTIME: &str = "runtime";
/// The `what` of an operation whose agent has started the teardown, but has not finished it.
const TEARDOWN: &str = "teardown";

impl State {
    /// Returns the record of an operation, with the number of attempts so far.
    pub(crate) fn operation_record(&self, row: &OperationRow) -> OperationRecord {
        let mut record = row.to_record(self.waiting_for(row));
        if let Some(delivery) = self.find_delivery(row) {
            record.attempts = delivery.attempts;
        }
        record
    }

    /// Returns the delivery of an operation's command, or `None` if the agent needs no command.
    pub(crate) fn find_delivery(&self, row: &OperationRow) -> Option<&Delivery> {
        self.hosts.get(&row.host)?.deliveries.get(&row.id)
    }

    /// Returns the condition that an open operation waits for, or `None` if the operation has
    /// ended.
    fn waiting_for(&self, row: &OperationRow) -> Option<WaitingFor> {
        let host = self.hosts.get(&row.host)?;
        match row.state {
            OperationState::Queued => {
                Some(describe_queued(host, row, self.find_earlier(host, row)))
            }
            OperationState::Running => Some(describe_running(host, row)),
            OperationState::Succeeded
            | OperationState::Failed
            | OperationState::TimedOut
            | OperationState::Cancelled => None,
        }
    }

    /// Returns the running operation that a queued operation of the same host must wait for: one of
    /// the same decky, or any if one of the two is for the whole host.
    fn find_earlier(&self, host: &Host, row: &OperationRow) -> Option<OperationId> {
        let must_wait_for = |id: &OperationId| {
            let other = self.operations.get(id);
            other.is_some_and(|other| match (&other.decky, &row.decky) {
                (Some(other), Some(decky)) => other == decky,
                (None, _) | (_, None) => true,
            })
        };
        host.running_operations.iter().copied().find(must_wait_for)
    }
}

fn describe_queued(host: &Host, row: &OperationRow, earlier: Option<OperationId>) -> WaitingFor {
    if let Some((detail, since)) = describe_silence(host) {
        return WaitingFor {
            what: AGENT.into(),
            detail,
            since: since.unwrap_or(row.accepted_at),
            next_attempt_at: None,
        };
    }
    let delivery = host.deliveries.get(&row.id);
    let next_attempt_at = delivery.and_then(Delivery::next_attempt_at);
    match earlier {
        Some(earlier) => WaitingFor {
            what: OPERATION.into(),
            detail: format!("operation {earlier} runs on this host, and this one runs after it")
                .into(),
            since: row.accepted_at,
            next_attempt_at,
        },
        None => WaitingFor {
            what: AGENT.into(),
            detail: if delivery.is_some_and(|delivery| delivery.is_received) {
                "the agent has received the command, but has not started it yet".into()
            } else {
                "the command was sent, but the agent has not confirmed it yet".into()
            },
            since: row.accepted_at,
            next_attempt_at,
        },
    }
}

fn describe_running(host: &Host, row: &OperationRow) -> WaitingFor {
    let started_at = row.started_at.unwrap_or(row.accepted_at);
    if let Some((detail, since)) = describe_silence(host) {
        return WaitingFor {
            what: AGENT.into(),
            detail,
            since: since.unwrap_or(started_at),
            next_attempt_at: None,
        };
    }
    let progress = host.progress.as_ref();
    let progress = progress.filter(|progress| progress.operation == row.id);
    let detail: Cow<'static, str> =
        progress.map_or("the agent has started it".into(), |progress| {
            let (at, step) = (progress.reported_at, &progress.step);
            format!("the agent reported at {at}: {step}").into()
        });
    let (what, detail) = match &host.row.inventory_error {
        Some(cause) => (RUNTIME, format!("{}; {detail}", cause.as_str()).into()),
        None => (TEARDOWN, detail),
    };
    WaitingFor {
        what: what.into(),
        detail,
        since: started_at,
        next_attempt_at: None,
    }
}

/// Explains why no reports can be expected from a host now, and returns the start of the silence,
/// if known. Returns `None` if the host is online.
fn describe_silence(host: &Host) -> Option<(Cow<'static, str>, Option<Timestamp>)> {
    let last_heartbeat = host.row.last_heartbeat;
    match host.row.status {
        HostStatus::Online => None,
        HostStatus::Enrolled => Some(("no heartbeat has arrived from this host yet".into(), None)),
        HostStatus::Offline => Some((
            last_heartbeat.map_or("host offline".into(), |at| {
                format!("host offline since {at}").into()
            }),
            last_heartbeat,
        )),
        HostStatus::Decommissioned => Some(("the host was decommissioned".into(), None)),
    }
}
