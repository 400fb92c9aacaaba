//! The rules for evidence: the record keeps what a result reports, and nothing else.

use scuttle_core::OperationRow;
use scuttle_schemas::agents::{Evidence, TeardownResult};

use crate::oracle::partition::PartitionOracle;
use crate::oracle::violation::{DURABLE_FIRST, NOTHING_LOST, Violation, ensure};
use crate::state::agents::deckies::ByDecky;

fn collect_evidence(row: &OperationRow) -> ByDecky<Evidence> {
    let rows = row.evidence.iter();
    rows.map(|row| (row.decky.clone(), row.evidence.clone()))
        .collect()
}

impl PartitionOracle {
    /// Notes the evidence in a result that an agent sends.
    pub(crate) fn note_evidence(&mut self, result: &TeardownResult) {
        let shards = result.shards.iter();
        let evidence =
            shards.filter_map(|shard| Some((shard.decky_id.clone(), shard.evidence.clone()?)));
        self.evidence
            .insert(result.operation_id, evidence.collect());
    }

    /// Checks that an operation has no evidence except that of its result.
    pub(crate) fn check_evidence(&self, row: &OperationRow) -> Result<(), Violation> {
        let kept = collect_evidence(row);
        let reported = self.evidence.get(&row.id);
        ensure(
            kept.is_empty() || reported == Some(&kept),
            DURABLE_FIRST,
            || format!("{} has the evidence {kept:?}, not {reported:?}", row.id),
        )
    }

    /// Checks, after all results were delivered, that the record has all evidence. The results of a
    /// host that was decommissioned may have been rejected.
    pub(crate) fn check_evidence_is_complete(&self) -> Result<(), Violation> {
        for (id, reported) in &self.evidence {
            let Some(row) = self.record.operations.get(id) else {
                continue;
            };
            let kept = collect_evidence(row);
            ensure(
                kept == *reported || self.ever_departed.contains(&row.host),
                NOTHING_LOST,
                || format!("{id} has the evidence {kept:?}, not {reported:?}"),
            )?;
        }
        Ok(())
    }
}
