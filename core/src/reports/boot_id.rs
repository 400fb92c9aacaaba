//! The check that an agent's `boot_id` is not far ahead of the controller's clock.

use scuttle_schemas::{BootId, ErrorCode, ErrorReply, Timestamp};

/// The maximum time in milliseconds by which a `boot_id` may be ahead of the controller's clock.
const MAX_AHEAD_MS: i64 = 3_600_000;

/// Checks the `boot_id` of a report. If a far later boot was accepted, every report of the host's
/// real agent would be stale.
///
/// # Errors
/// `bad_request` if the boot started more than an hour after `now`.
pub(crate) fn check_boot_id(now: Timestamp, boot: BootId) -> Result<(), ErrorReply> {
    let ahead_ms = boot.started_at().millis_since(now);
    if ahead_ms <= MAX_AHEAD_MS {
        return Ok(());
    }
    let ahead_s = ahead_ms / 1000;
    Err(ErrorReply::new(
        ErrorCode::BadRequest,
        format!(
            "boot_id {boot} is {ahead_s} s ahead of the controller's clock, more than the hour that \
             is allowed: correct the clock of the host, and restart its agent"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::operations::OperationState;
    use scuttle_schemas::{BootId, ErrorCode};
    use uuid::Uuid;

    use super::MAX_AHEAD_MS;
    use crate::record::rows::ReportId;
    use crate::tests::scenario::{Scenario, report};

    fn swarm_with_host() -> Scenario {
        let mut swarm = Scenario::new();
        swarm.enroll("worker-h", Some("h")).expect("new");
        swarm.heartbeat("h", report(7, 1), Some(&["a"]));
        swarm
    }

    fn report_ahead(swarm: &Scenario, ahead_ms: i64) -> ReportId {
        let millis = swarm.now.plus_millis(ahead_ms).as_millis();
        let boot = u128::try_from(millis).expect("after 1970") << 80;
        ReportId {
            boot: BootId(Uuid::from_u128(boot)),
            sequence: 1,
        }
    }

    #[test]
    fn a_heartbeat_whose_boot_is_more_than_an_hour_ahead_is_rejected() {
        let mut swarm = swarm_with_host();
        for boot in [
            report_ahead(&swarm, MAX_AHEAD_MS + 1).boot,
            BootId(Uuid::max()),
        ] {
            let far = ReportId { boot, sequence: 1 };
            let error = swarm.try_heartbeat("h", far, Some(&["x"]));
            let error = error.expect_err("too far ahead");
            assert_eq!(error.code, ErrorCode::BadRequest);
        }
        assert_eq!(swarm.states("h"), "a:Running");
        assert!(!swarm.heartbeat("h", report(7, 2), None).0.stale);
        let near = report_ahead(&swarm, MAX_AHEAD_MS);
        assert!(!swarm.heartbeat("h", near, Some(&["a"])).0.stale);
    }

    #[test]
    fn a_result_and_progress_of_a_boot_more_than_an_hour_ahead_change_nothing() {
        let mut swarm = swarm_with_host();
        let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
        let id = accepted.operation_id;
        let far = report_ahead(&swarm, MAX_AHEAD_MS + 1);
        swarm.report_started("h", far.boot.0.as_u128(), id);
        let error = swarm.try_report_result("h", far, id, None, &[("a", None)]);
        assert_eq!(
            error.expect_err("too far ahead").code,
            ErrorCode::BadRequest
        );
        assert_eq!(swarm.operation(id).state, OperationState::Queued);
        assert_eq!(swarm.states("h"), "a:TearingDown");
        assert!(!swarm.heartbeat("h", report(7, 2), None).0.stale);
    }
}
