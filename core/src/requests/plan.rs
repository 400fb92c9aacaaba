//! Teardown plans: builds the plan that a `dry_run` request returns, and checks that the plan hash
//! in `expect_plan` still matches the current plan.

use scuttle_schemas::teardown::{DETAIL_DRY_RUN, PlanTarget, TeardownPlan};
use scuttle_schemas::{Deployment, ErrorCode, ErrorReply, MAX_PLAN_TARGETS};

use crate::broadcast::size_bounds::SizeBound;
use crate::plural::format_deckies;
use crate::record::rows::{HostRow, ShardRow};
use crate::requests::hash::hash_texts;

/// Returns the plan for the teardown of `targets`, with at most `MAX_PLAN_TARGETS` of them, and
/// only as many as fit into `max_bytes`. The hash covers the host, all deckies, their deployments
/// and which of them are protected, but not their states.
pub(crate) fn build_plan<'s>(
    host: &HostRow,
    targets: impl Iterator<Item = &'s ShardRow> + Clone,
    mut max_bytes: usize,
) -> TeardownPlan {
    let names = targets.clone().flat_map(|row| {
        let deployment = row.deployment.as_ref().map(Deployment::as_str);
        // A name has no space. A plan without protected targets has the hash that earlier versions
        // gave it.
        let mark = row.is_protected_on(host).then_some(Some(" protected"));
        [Some(row.decky.as_str()), deployment]
            .into_iter()
            .chain(mark)
    });
    let parts = std::iter::once(Some(host.host.as_str())).chain(names);
    TeardownPlan {
        accepted: false,
        detail: DETAIL_DRY_RUN.to_owned(),
        plan: hash_texts(parts).simple().to_string(),
        total: targets.clone().count(),
        targets: targets
            .take(MAX_PLAN_TARGETS)
            .map(|row| PlanTarget {
                decky_id: row.decky.clone(),
                state: row.state,
                deployment: row.deployment.clone(),
                protected: row.is_protected_on(host),
            })
            .take_while(|target| target.try_reserve(&mut max_bytes))
            .collect(),
    }
}

/// Returns an error if `expected`, the `expect_plan` of a request, is not the hash of the current
/// plan.
pub(crate) fn check_plan(expected: &str, plan: &TeardownPlan) -> Result<(), ErrorReply> {
    if expected == plan.plan {
        return Ok(());
    }
    let deckies = format_deckies(plan.total);
    Err(ErrorReply::new(
        ErrorCode::PlanChanged,
        format!("the plan has changed and now has {deckies}: request a dry run again"),
    ))
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::teardown::TeardownPlan;
    use scuttle_schemas::{ErrorCode, MIN_MAX_PAYLOAD};

    use crate::api::Reply;
    use crate::message_limits::MessageLimits;
    use crate::tests::scenario::{Scenario, report};

    fn request_plan(swarm: &mut Scenario, target: &str) -> TeardownPlan {
        let request = format!(r#"{{"host_uuid":"h",{target}"dry_run":true}}"#);
        match swarm.teardown_json(&request, None, "alice").0 {
            Reply::Plan(plan) => plan,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_plan_no_longer_holds_after_a_target_was_deployed_again() {
        for target in ["", r#""decky_id":"a","#] {
            let mut swarm = Scenario::new();
            swarm.enroll("worker-h", Some("h")).expect("new");
            swarm.heartbeat_with_deployments("h", report(7, 1), &[("a", "1"), ("b", "")]);
            let plan = request_plan(&mut swarm, target);
            let deployment = plan.targets[0].deployment.as_ref();
            assert_eq!(
                deployment.map(scuttle_schemas::Deployment::as_str),
                Some("1")
            );
            assert_eq!(request_plan(&mut swarm, target).plan, plan.plan);

            swarm.heartbeat_with_deployments("h", report(7, 2), &[("a", "2"), ("b", "")]);
            let plan = plan.plan;
            let request = format!(r#"{{"host_uuid":"h",{target}"expect_plan":"{plan}"}}"#);
            match swarm.teardown_json(&request, None, "alice").0 {
                Reply::Rejected(error) => assert_eq!(error.code, ErrorCode::PlanChanged),
                other => panic!("{other:?}"),
            }
            assert_eq!(swarm.states("h"), "a:Running b:Running");
        }
    }

    /// The hash must not confuse the name of a decky with a deployment.
    #[test]
    fn a_plan_distinguishes_deckies_from_deployments() {
        let mut plans = Vec::new();
        for deckies in [
            &[("a", "b")][..],
            &[("a", ""), ("b", "")],
            &[("a", "")],
            &[("a", "b"), ("b", "")],
        ] {
            let mut swarm = Scenario::new();
            swarm.enroll("worker-h", Some("h")).expect("new");
            swarm.heartbeat_with_deployments("h", report(7, 1), deckies);
            plans.push(request_plan(&mut swarm, "").plan);
        }
        let distinct: std::collections::BTreeSet<_> = plans.iter().collect();
        assert_eq!(distinct.len(), plans.len());
    }

    #[test]
    fn a_plan_lists_at_most_a_thousand_targets_and_its_hash_covers_all() {
        let names: Vec<String> = (0..1002).map(|number| format!("d{number:04}")).collect();
        let mut deckies: Vec<(&str, &str)> =
            names.iter().map(|name| (name.as_str(), "1")).collect();
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat_with_deployments("h", report(7, 1), &deckies);
        let plan = request_plan(&mut swarm, "");
        assert_eq!((plan.targets.len(), plan.total), (1000, 1002));
        deckies[1001].1 = "2";
        swarm.heartbeat_with_deployments("h", report(7, 2), &deckies);
        let changed = request_plan(&mut swarm, "");
        assert_eq!(changed.targets, plan.targets);
        assert_ne!(changed.plan, plan.plan);
        // A server with small messages gets fewer targets.
        let limits = MessageLimits::new(MIN_MAX_PAYLOAD);
        swarm.state.set_message_limits(limits);
        let short = request_plan(&mut swarm, "");
        assert_eq!((&short.plan, short.total), (&changed.plan, 1002));
        assert!(changed.targets.starts_with(&short.targets));
        let bytes = serde_json::to_vec(&short).expect("valid").len();
        assert!(
            (MIN_MAX_PAYLOAD / 3..MIN_MAX_PAYLOAD).contains(&bytes),
            "{bytes} bytes"
        );
    }
}
