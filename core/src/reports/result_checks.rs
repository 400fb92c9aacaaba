//! The checks that a result does not contradict itself. `result` applies a result that passes them.

use std::collections::BTreeSet;

use scuttle_schemas::agents::{ResultOutcome, TeardownResult};
use scuttle_schemas::{ErrorCode, ErrorReply};

use crate::record::rows::OperationRow;

/// Checks that a result lists each decky at most once. Two outcomes of one decky contradict each
/// other.
pub(crate) fn check_listed_once(result: &TeardownResult) -> Result<(), ErrorReply> {
    let mut listed = BTreeSet::new();
    for shard in &result.shards {
        if !listed.insert(&shard.decky_id) {
            return Err(ErrorReply::new(
                ErrorCode::BadRequest,
                format!("the result lists decky {} twice", shard.decky_id),
            ));
        }
    }
    Ok(())
}

/// Checks that the success of an operation on a single decky mentions the decky. Otherwise nothing
/// says that the decky is gone.
pub(crate) fn check_mentions_decky(
    operation: &OperationRow,
    result: &TeardownResult,
) -> Result<(), ErrorReply> {
    let Some(decky) = &operation.decky else {
        return Ok(());
    };
    let is_mentioned = result.shards.iter().any(|shard| shard.decky_id == *decky);
    if is_mentioned || result.outcome == ResultOutcome::Failed {
        return Ok(());
    }
    let id = operation.id;
    Err(ErrorReply::new(
        ErrorCode::BadRequest,
        format!(
            "the result says that operation {id} succeeded, but does not mention decky {decky}"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::operations::OperationState;
    use scuttle_schemas::{ErrorCode, OperationId};

    use crate::tests::scenario::{Scenario, report};

    /// Returns a swarm whose host `h` runs `a`, and an operation on `a`.
    fn swarm_with_operation() -> (Scenario, OperationId) {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat("h", report(7, 1), Some(&["a"]));
        let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
        (swarm, accepted.operation_id)
    }

    #[test]
    fn a_result_that_lists_a_decky_twice_is_rejected() {
        let (mut swarm, operation) = swarm_with_operation();
        for shards in [
            [("a", None), ("a", Some("container busy"))],
            [("b", None), ("b", None)],
        ] {
            let error = swarm.try_report_result("h", report(7, 2), operation, None, &shards);
            assert_eq!(error.expect_err("rejected").code, ErrorCode::BadRequest);
        }
        assert_eq!(swarm.operation(operation).state, OperationState::Queued);
        assert_eq!(swarm.states("h"), "a:TearingDown");
    }

    #[test]
    fn a_success_that_does_not_mention_its_decky_is_rejected() {
        let (mut swarm, operation) = swarm_with_operation();
        for shards in [&[] as &[_], &[("b", None)]] {
            let error = swarm.try_report_result("h", report(7, 2), operation, None, shards);
            assert_eq!(error.expect_err("rejected").code, ErrorCode::BadRequest);
        }
        assert_eq!(swarm.operation(operation).state, OperationState::Queued);
        assert_eq!(swarm.states("h"), "a:TearingDown");
        swarm.report_result("h", report(7, 2), operation, None, &[("a", None)]);
        assert_eq!(swarm.operation(operation).state, OperationState::Succeeded);
        // A repeat of a result that was recorded is not judged again.
        swarm
            .try_report_result("h", report(7, 2), operation, None, &[])
            .expect("recorded");
    }

    #[test]
    fn a_failure_need_not_mention_its_decky() {
        let (mut swarm, operation) = swarm_with_operation();
        swarm.report_result("h", report(7, 2), operation, Some("command expired"), &[]);
        assert_eq!(swarm.states("h"), "a:TeardownFailed");
    }
}
