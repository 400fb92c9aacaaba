//! The agents' reports that reached a controller.

use scuttle_core::Input;
use scuttle_schemas::agents::{ReportedOutcome, ResultOutcome};
use scuttle_schemas::{BootId, Deployment, HostId, OperationId};

use crate::state::agents::deckies::ByDecky;

#[derive(Debug, Clone)]
pub(crate) enum Report {
    Inventory {
        host: HostId,
        boot: BootId,
        sequence: u64,
        listed: ByDecky<Option<Deployment>>,
    },
    Result {
        host: HostId,
        boot: BootId,
        sequence: u64,
        operation: OperationId,
        outcome: ResultOutcome,
        outcomes: ByDecky<ReportedOutcome>,
    },
}

impl Report {
    pub(crate) fn from_input(input: &Input) -> Option<Self> {
        match input {
            Input::Heartbeat { host, heartbeat } => Some(Self::Inventory {
                host: host.clone(),
                boot: heartbeat.boot_id,
                sequence: heartbeat.sequence,
                listed: (heartbeat.shards.as_ref()?.iter())
                    .map(|shard| (shard.decky_id.clone(), shard.deployment.clone()))
                    .collect(),
            }),
            Input::Result { host, result, .. } => Some(Self::Result {
                host: host.clone(),
                boot: result.boot_id,
                sequence: result.sequence,
                operation: result.operation_id,
                outcome: result.outcome,
                outcomes: (result.shards.iter())
                    .map(|shard| (shard.decky_id.clone(), shard.outcome))
                    .collect(),
            }),
            _ => None,
        }
    }
}
