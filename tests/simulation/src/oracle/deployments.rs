//! The rules for deployments: what concerns one deployment of a decky must not affect the next, and
//! a plan holds only for the deployments that it lists.

use scuttle_core::{ReportId, ShardRow};
use scuttle_schemas::OperationId;
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::teardown::TeardownPlan;

use crate::oracle::partition::{PartitionOracle, host_index};
use crate::oracle::reports::Report;
use crate::oracle::violation::{NEW_DEPLOYMENT, NO_REAPPEARANCE, Violation, ensure};
use crate::state::agents::deckies::generation_of;

impl PartitionOracle {
    /// Checks that a shard whose decky was deployed again has the state that its agent reports, and
    /// nothing of the earlier deployment.
    pub(crate) fn check_redeployment(
        before: &ShardRow,
        row: &ShardRow,
        name: &str,
    ) -> Result<(), Violation> {
        let is_clean = row.state == ShardState::from(row.reported)
            && row.operation.is_none()
            && row.last_error.is_none();
        ensure(is_clean, NEW_DEPLOYMENT, || {
            format!("{name} is a new deployment, but keeps the state of the earlier one: {row:?}")
        })?;
        let generation = |row: &ShardRow| row.deployment.as_ref().and_then(generation_of);
        ensure(
            generation(before) < generation(row),
            NO_REAPPEARANCE,
            || format!("{name} goes back from {before:?} to {row:?}"),
        )
    }

    /// Notes the report that listed a new deployment, and the deployment that an operation took
    /// over. Checks that an operation fails only the deployment that it took over.
    pub(crate) fn check_deployment(
        &mut self,
        before: Option<&ShardRow>,
        row: &ShardRow,
        name: &str,
    ) -> Result<(), Violation> {
        let Some(deployment) = &row.deployment else {
            // A result may register a decky that had left the record: the agent found it again. The
            // failure then concerns what the agent found, whichever deployment that is.
            if before.is_none()
                && let Some(operation) = row.operation
                && let Some(taken_over) = self.taken_over.get_mut(&operation)
            {
                taken_over.remove(&row.decky);
            }
            return Ok(());
        };
        let known = before.and_then(|before| before.deployment.as_ref());
        if known != Some(deployment) {
            let listing = self.reports().iter().filter_map(|report| match report {
                Report::Inventory {
                    host,
                    boot,
                    sequence,
                    listed,
                } => (*host == row.host
                    && listed.get(&row.decky).and_then(Option::as_ref) == Some(deployment))
                .then_some(ReportId {
                    boot: *boot,
                    sequence: *sequence,
                }),
                Report::Result { .. } => None,
            });
            let first = listing.min();
            ensure(first.is_some(), NO_REAPPEARANCE, || {
                format!("{name} has the deployment {deployment}, which its agent never listed")
            })?;
            // A shard whose record had no deployment keeps its state, so the time since which the
            // deployment exists is unknown.
            let is_adopted = before.is_some() && known.is_none();
            let key = (row.host.clone(), row.decky.clone());
            match first.filter(|_| !is_adopted) {
                Some(first) => drop(self.first_listings.insert(key, first)),
                None => drop(self.first_listings.remove(&key)),
            }
        }
        let Some(operation) = row.operation else {
            return Ok(());
        };
        let taken_over = self.taken_over.entry(operation).or_default();
        if row.state == ShardState::TearingDown {
            let entry = taken_over.entry(row.decky.clone());
            entry.or_insert_with(|| deployment.clone());
        }
        let expected = taken_over.get(&row.decky);
        let holds = expected.is_none_or(|expected| expected == deployment);
        ensure(
            holds || row.state != ShardState::TeardownFailed,
            NEW_DEPLOYMENT,
            || format!("{name} is failed by {operation}, which took over {expected:?}"),
        )
    }

    /// Returns whether a report is older than the deployment of a shard in the record, about which
    /// the report therefore says nothing.
    pub(crate) fn is_older_than_deployment(&self, report: &Report, row: &ShardRow) -> bool {
        let (id, removed_then) = match report {
            Report::Inventory {
                host,
                boot,
                sequence,
                ..
            } => (
                (*boot, *sequence),
                self.inventories.get(&(host_index(host), *boot, *sequence)),
            ),
            Report::Result {
                host,
                boot,
                sequence,
                operation,
                ..
            } => (
                (*boot, *sequence),
                self.results.get(&(host_index(host), *operation)),
            ),
        };
        let generation = row.deployment.as_ref().and_then(generation_of);
        let removed = removed_then.and_then(|removed| removed.get(&row.decky).copied());
        let first = self
            .first_listings
            .get(&(row.host.clone(), row.decky.clone()));
        generation > removed.or(Some(0))
            && first.is_some_and(|first| (first.boot, first.sequence) > id)
    }

    /// Notes the plan of a dry run.
    pub(crate) fn note_plan(&mut self, plan: &TeardownPlan) {
        let targets = plan.targets.iter();
        let targets = targets.map(|target| (target.decky_id.clone(), target.deployment.clone()));
        self.plans.insert(plan.plan.clone(), targets.collect());
    }

    /// Checks that a new operation whose request expected a plan took over the deployments of the
    /// plan, and no others.
    pub(crate) fn check_planned_operation(
        &self,
        plan: &str,
        operation: OperationId,
    ) -> Result<(), Violation> {
        let (Some(targets), Some(taken_over)) =
            (self.plans.get(plan), self.taken_over.get(&operation))
        else {
            return Ok(());
        };
        let is_planned = taken_over.iter().all(|(decky, deployment)| {
            // The agent may have reported the deployment only after the dry run.
            let planned = targets.get(decky);
            planned.is_some_and(|planned| planned.as_ref().is_none_or(|known| known == deployment))
        });
        ensure(is_planned, NEW_DEPLOYMENT, || {
            format!("{operation} takes over {taken_over:?}, but its plan was {targets:?}")
        })
    }
}
