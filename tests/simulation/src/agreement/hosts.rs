//! Checks the record of a host against the deckies that really run on it.

use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{DeckyId, HostId};

use crate::oracle::partition::PartitionOracle;
use crate::oracle::violation::{RECORD_MATCHES, Violation, ensure};
use crate::state::agents::deckies::Deckies;

impl PartitionOracle {
    /// Checks that the record of a host matches the deckies that run on it.
    pub(crate) fn check_host(&self, host: &HostId, deckies: &Deckies) -> Result<(), Violation> {
        for ((_, decky), shard) in self.record.shards.range((host.clone(), first_decky_id())..) {
            if shard.row.host != *host {
                break;
            }
            let row = &shard.row;
            let real = deckies.running().get(decky);
            let unreported = row.state == ShardState::Degraded
                && row
                    .last_error
                    .as_ref()
                    .is_some_and(|error| error.as_str().contains("not reported"));
            let holds = match (real, row.state) {
                (Some(_), ShardState::TeardownFailed) => {
                    row.reported == *real.unwrap_or(&row.reported)
                }
                (_, ShardState::TearingDown) => false,
                (Some(state), on_record) => on_record == ShardState::from(*state),
                (None, _) => unreported,
            };
            ensure(holds, RECORD_MATCHES, || {
                format!(
                    "{host}/{decky} is {:?} ({:?}) on record, but {real:?} in reality",
                    row.state, row.last_error
                )
            })?;
            let deployment = deckies.deployment(decky);
            ensure(
                real.is_none() || row.deployment == deployment,
                RECORD_MATCHES,
                || {
                    let known = &row.deployment;
                    format!(
                        "{host}/{decky} has the deployment {known:?} on record, not {deployment:?}"
                    )
                },
            )?;
        }
        for decky in deckies.running().keys() {
            let known = self
                .record
                .shards
                .contains_key(&(host.clone(), decky.clone()));
            ensure(known, RECORD_MATCHES, || {
                format!("{host}/{decky} is running, but is not on record")
            })?;
        }
        Ok(())
    }
}

fn first_decky_id() -> DeckyId {
    "0".parse().expect("a valid name")
}
