//! Operations: which state follows which.

use scuttle_schemas::operations::OperationState;

/// Whether an operation in this state still waits for its end.
pub(crate) fn is_open(state: OperationState) -> bool {
    match state {
        OperationState::Queued | OperationState::Running => true,
        OperationState::Succeeded
        | OperationState::Failed
        | OperationState::TimedOut
        | OperationState::Cancelled => false,
    }
}

/// What can happen to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Its agent is at work on it.
    Started,
    /// Its agent confirmed that every shard is gone.
    Succeeded,
    /// Its agent reported an error.
    Failed,
    /// The deadline passed, and an inventory shows that every shard is gone.
    FoundGone,
    /// The deadline passed otherwise.
    Expired,
    /// An operator withdrew it.
    Cancelled,
    /// An operator took its host out of the swarm.
    Decommissioned,
}

/// An event that an operation's state does not provide for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an operation that is {state:?} cannot take {event:?}")]
pub(crate) struct IllegalTransition {
    state: OperationState,
    event: Event,
}

/// The state after an event.
///
/// A result counts whatever came before, except after another result: `timed_out` and `cancelled` say
/// what the controller knew, and an agent that acted all the same knows better.
pub(crate) fn next_state(
    state: OperationState,
    event: Event,
) -> Result<OperationState, IllegalTransition> {
    use OperationState::{Cancelled, Failed, Queued, Running, Succeeded, TimedOut};
    match (state, event) {
        (Queued, Event::Started) => Ok(Running),
        (Queued | Running, Event::FoundGone)
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
            Event::FoundGone | Event::Expired | Event::Decommissioned,
        ) => Err(IllegalTransition { state, event }),
    }
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::operations::OperationState::{
        Cancelled, Failed, Queued, Running, Succeeded, TimedOut,
    };

    use super::{Event, next_state};

    /// The protocol's table of operation states, row by row.
    #[test]
    fn operations_go_on_as_the_protocol_says() {
        for (state, goes_on_to) in [
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
                Event::Started,
                Event::Succeeded,
                Event::Failed,
                Event::FoundGone,
                Event::Expired,
                Event::Cancelled,
                Event::Decommissioned,
            ];
            let reached: Vec<_> = events
                .into_iter()
                .filter_map(|event| next_state(state, event).ok())
                .collect();
            assert_eq!(reached, goes_on_to, "from {state:?}");
        }
    }
}
