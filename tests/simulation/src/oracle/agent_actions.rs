//! The rules for the actions of agents on their deckies.

use scuttle_agent::runtime::Teardown;
use scuttle_schemas::{DeckyId, HostId, OperationId, Timestamp};

use crate::oracle::partition::PartitionOracle;
use crate::oracle::violation::{AT_MOST_ONCE, DURABLE_FIRST, OWN_HOST_ONLY, Violation, ensure};

impl PartitionOracle {
    /// Checks a teardown that an agent is about to start. Its operation must be durable and have
    /// this host and target, and its deadline must have passed by at most 60 s.
    pub(crate) fn check_teardown_start(
        &self,
        host: usize,
        id: &HostId,
        teardown: &Teardown,
        wall: Timestamp,
    ) -> Result<(), Violation> {
        let operation = teardown.operation_id;
        let row = self.record.operations.get(&operation);
        let Some(row) = row else {
            let what = format!("agent {host} starts {operation}, which is not durable");
            return Err(Violation::new(DURABLE_FIRST, what));
        };
        ensure(
            row.host == *id && row.decky == teardown.decky_id,
            OWN_HOST_ONLY,
            || {
                format!(
                    "agent {host} starts {operation}, which is for {} {:?}",
                    row.host, row.decky
                )
            },
        )?;
        ensure(
            wall.millis_since(row.deadline) <= 60_000,
            AT_MOST_ONCE,
            || {
                format!(
                    "agent {host} starts {operation} at {wall}, more than 60 s past its deadline {}",
                    row.deadline
                )
            },
        )
    }

    /// Checks that the operation for which an agent removes a decky covers this decky.
    pub(crate) fn check_removal(
        &self,
        host: &HostId,
        decky: &DeckyId,
        operation: OperationId,
    ) -> Result<(), Violation> {
        let row = self.record.operations.get(&operation);
        let covers = row.is_some_and(|row| {
            row.host == *host && row.decky.as_ref().is_none_or(|only| only == decky)
        });
        ensure(covers, OWN_HOST_ONLY, || {
            format!("{host}/{decky} is removed for {operation}, which does not cover it")
        })
    }
}
