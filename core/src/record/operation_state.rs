//! The states of an operation, and the transitions between them.

use scuttle_schemas::operations::OperationState;

/// An event in the life of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OperationEvent {
    /// The agent has started the operation.
    Started,
    /// The agent confirmed that every shard is gone.
    Succeeded,
    /// The agent reported an error.
    Failed,
    /// The deadline passed, and an inventory proves that every shard is gone.
    ProvenGone,
    /// The deadline passed, but no inventory proves that every shard is gone.
    Expired,
    /// An operator cancelled the operation.
    Cancelled,
    /// An operator decommissioned the operation's host.
    Decommissioned,
}

/// The error for an event that is not possible in the operation's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an operation in state {state:?} cannot change by {event:?}")]
pub(crate) struct IllegalTransition {
    state: OperationState,
    event: OperationEvent,
}

/// Returns the state after an event, or an error if the event is not possible in `state`.
///
/// A result is accepted in every state except `succeeded` and `failed`. The states `timed_out` and
/// `cancelled` only reflect the controller's knowledge, whereas the agent knows what was really
/// done.
pub(crate) fn next_state(
    state: OperationState,
    event: OperationEvent,
) -> Result<OperationState, IllegalTransition> {
    use OperationEvent as Event;
    use OperationState::{Cancelled, Failed, Queued, Running, Succeeded, TimedOut};
    match (state, event) {
        (Queued, Event::Started) => Ok(Running),
        (Queued | Running, Event::ProvenGone)
        | (Queued | Running | TimedOut | Cancelled, Event::Succeeded) => Ok(Succeeded),
        (Queued | Running | TimedOut | Cancelled, Event::Failed)
        | (Queued | Running, Event::Decommissioned) => Ok(Failed),
        (Queued, Event::Cancelled) => Ok(Cancelled),
        (Queued | Running, Event::Expired) => Ok(TimedOut),
        (
            Running | Succeeded | Failed | TimedOut | Cancelled,
            Event::Started | Event::Cancelled,
        )
        | (Succeeded | Failed, Event::Succeeded | Event::Failed)
        | (
            Succeeded | Failed | TimedOut | Cancelled,
            Event::ProvenGone | Event::Expired | Event::Decommissioned,
        ) => Err(IllegalTransition { state, event }),
    }
}

/// Returns whether an operation in this state has not ended yet.
pub(crate) fn is_open(state: OperationState) -> bool {
    match state {
        OperationState::Queued | OperationState::Running => true,
        OperationState::Succeeded
        | OperationState::Failed
        | OperationState::TimedOut
        | OperationState::Cancelled => false,
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::operations::OperationState::{
        Cancelled, Failed, Queued, Running, Succeeded, TimedOut,
    };

    use super::{OperationEvent, next_state};

    /// Lists, for each state, the states to which the events lead, as in the protocol's table.
    #[test]
    fn an_operation_changes_state_as_the_protocol_says() {
        for (state, expected) in [
            (
                Queued,
                vec![
                    Running, Succeeded, Failed, Succeeded, TimedOut, Cancelled, Failed,
                ],
            ),
            (
                Running,
                vec![Succeeded, Failed, Succeeded, TimedOut, Failed],
            ),
            (Succeeded, vec![]),
            (Failed, vec![]),
            (TimedOut, vec![Succeeded, Failed]),
            (Cancelled, vec![Succeeded, Failed]),
        ] {
            let events = [
                OperationEvent::Started,
                OperationEvent::Succeeded,
                OperationEvent::Failed,
                OperationEvent::ProvenGone,
                OperationEvent::Expired,
                OperationEvent::Cancelled,
                OperationEvent::Decommissioned,
            ];
            let reached: Vec<_> = events
                .into_iter()
                .filter_map(|event| next_state(state, event).ok())
                .collect();
            assert_eq!(reached, expected, "from {state:?}");
        }
    }
}
