//! `waiting_for`: the one thing that an open operation waits for, for an operator who asks why.

use std::borrow::Cow;

use scuttle_schemas::Timestamp;
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::{OperationState, WaitingFor};

use crate::record::rows::OperationRow;
use crate::state::State;
use crate::state::host::Host;

/// For its agent: to be heard, or to start.
const AGENT: &str = "agent";
/// For another operation of the host.
const OPERATION: &str = "operation";
/// For the end of the work itself.
const TEARDOWN: &str = "teardown";

impl State {
    /// What an operation waits for; nothing once it has ended.
    pub(crate) fn waiting_for(&self, row: &OperationRow) -> Option<WaitingFor> {
        let host = self.hosts.get(&row.host)?;
        match row.state {
            OperationState::Queued => Some(queued(host, row)),
            OperationState::Running => Some(running(host, row)),
            OperationState::Succeeded
            | OperationState::Failed
            | OperationState::TimedOut
            | OperationState::Cancelled => None,
        }
    }
}

fn queued(host: &Host, row: &OperationRow) -> WaitingFor {
    let next_attempt_at = Some(row.next_attempt_at);
    if let Some((detail, since)) = unheard(host) {
        return WaitingFor {
            what: AGENT.into(),
            detail,
            since: since.unwrap_or(row.accepted_at),
            next_attempt_at,
        };
    }
    match host.running.first() {
        Some(other) => WaitingFor {
            what: OPERATION.into(),
            detail: format!("operation {other} runs on this host, and an agent runs one at a time")
                .into(),
            since: row.accepted_at,
            next_attempt_at,
        },
        None => WaitingFor {
            what: AGENT.into(),
            detail: "the command was sent, and the agent has not said that it started".into(),
            since: row.accepted_at,
            next_attempt_at,
        },
    }
}

fn running(host: &Host, row: &OperationRow) -> WaitingFor {
    let started_at = row.started_at.unwrap_or(row.accepted_at);
    if let Some((detail, since)) = unheard(host) {
        return WaitingFor {
            what: AGENT.into(),
            detail,
            since: since.unwrap_or(started_at),
            next_attempt_at: None,
        };
    }
    let progress = host
        .progress
        .as_ref()
        .filter(|said| said.operation == row.id);
    WaitingFor {
        what: TEARDOWN.into(),
        detail: progress.map_or("the agent has started it".into(), |said| {
            format!("the agent said at {}: {}", said.said_at, said.step).into()
        }),
        since: started_at,
        next_attempt_at: None,
    }
}

/// Why nothing is to be hoped for from a host now, and since when, if that is known.
fn unheard(host: &Host) -> Option<(Cow<'static, str>, Option<Timestamp>)> {
    let heard = host.row.last_heartbeat;
    match host.row.status {
        HostStatus::Online => None,
        HostStatus::Enrolled => Some(("the host's agent was never heard".into(), None)),
        HostStatus::Offline => Some((
            heard.map_or("host offline".into(), |at| {
                format!("host offline since {at}").into()
            }),
            heard,
        )),
        HostStatus::Decommissioned => Some(("the host was decommissioned".into(), None)),
    }
}
