//! Teardown plans: builds the plan that a `dry_run` request returns, and checks that the plan hash
//! in `expect_plan` still matches the current plan.

use scuttle_schemas::shards::ShardState;
use scuttle_schemas::teardown::{DETAIL_DRY_RUN, PlanTarget, TeardownPlan};
use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, HostId};

use crate::requests::hash::hash_texts;

/// Returns the plan for the teardown of `targets`. The hash covers the host and the deckies, but
/// not their states.
pub(crate) fn build_plan<'s>(
    host: &HostId,
    targets: impl Iterator<Item = (&'s DeckyId, ShardState)> + Clone,
) -> TeardownPlan {
    let names = targets.clone().map(|(decky, _)| Some(decky.as_str()));
    let parts = std::iter::once(Some(host.as_str())).chain(names);
    TeardownPlan {
        accepted: false,
        detail: DETAIL_DRY_RUN.to_owned(),
        plan: hash_texts(parts).simple().to_string(),
        targets: targets
            .map(|(decky_id, state)| PlanTarget {
                decky_id: decky_id.clone(),
                state,
            })
            .collect(),
    }
}

/// Returns an error if `expected`, the `expect_plan` of a request, is not the hash of the current
/// plan.
pub(crate) fn check_plan(expected: &str, plan: &TeardownPlan) -> Result<(), ErrorReply> {
    if expected == plan.plan {
        return Ok(());
    }
    let targets = plan.targets.len();
    Err(ErrorReply::new(
        ErrorCode::PlanChanged,
        format!("the plan has changed and now has {targets} targets: request a dry run again"),
    ))
}
