//! `dry_run` and `expect_plan`: what a teardown would take down, and whether that is still so.

use scuttle_schemas::shards::ShardState;
use scuttle_schemas::teardown::{DETAIL_DRY_RUN, PlanTarget, TeardownPlan};
use scuttle_schemas::{DeckyId, ErrorCode, ErrorReply, HostId};

use crate::requests::hash::hash;

/// What a teardown of these shards would be.
pub(crate) fn plan<'s>(
    host: &HostId,
    targets: impl Iterator<Item = (&'s DeckyId, ShardState)> + Clone,
) -> TeardownPlan {
    let names = targets.clone().map(|(decky, _)| Some(decky.as_str()));
    let parts = std::iter::once(Some(host.as_str())).chain(names);
    TeardownPlan {
        accepted: false,
        detail: DETAIL_DRY_RUN.to_owned(),
        plan: hash(parts).simple().to_string(),
        targets: targets
            .map(|(decky_id, state)| PlanTarget {
                decky_id: decky_id.clone(),
                state,
            })
            .collect(),
    }
}

/// Refuses when the targets are not those of the plan that the requester has seen. Their states may
/// differ.
pub(crate) fn check(expected: &str, plan: &TeardownPlan) -> Result<(), ErrorReply> {
    if expected == plan.plan {
        return Ok(());
    }
    Err(ErrorReply::new(
        ErrorCode::PlanChanged,
        format!(
            "the targets are no longer those of the plan: now they are {}; ask for a dry run again",
            plan.targets.len()
        ),
    ))
}
