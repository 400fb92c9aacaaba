//! Tests of what operators do beside tearing down: cancel, plan, repeat with a key, decommission, and ask
//! why it takes so long. Each is one promise of the protocol, told as a story.

use scuttle_schemas::agents::AgentCommand;
use scuttle_schemas::operations::{CancelRequest, OperationState};
use scuttle_schemas::teardown::{TeardownAccepted, TeardownPlan};
use scuttle_schemas::{ErrorCode, ErrorReply, OperationId};

use crate::api::{Effect, Input, Reply};
use crate::tests::scenario::Scenario;

const BOOT: u128 = 7;

fn swarm() -> Scenario {
    let mut swarm = Scenario::new();
    swarm.enroll("worker-h", Some("h")).expect("new");
    swarm.heartbeat("h", (BOOT, 1), Some(&["a", "b"]));
    swarm
}

fn cancel(swarm: &mut Scenario, operation_id: OperationId) -> Result<Vec<Effect>, ErrorCode> {
    match swarm.ask(Input::Cancel(CancelRequest { operation_id })) {
        (Reply::Cancelled(answer), effects) => {
            assert_eq!(answer.operation.state, OperationState::Cancelled);
            Ok(effects)
        }
        (Reply::Rejected(refusal), _) => Err(refusal.code),
        other => panic!("{other:?}"),
    }
}

fn withdrawals(effects: &[Effect]) -> usize {
    let cancels = effects.iter().filter(|effect| {
        matches!(
            effect,
            Effect::Command {
                command: AgentCommand::Cancel(_),
                ..
            }
        )
    });
    cancels.count()
}

#[test]
fn a_cancelled_operation_lets_its_shards_go_back_to_what_their_agent_last_reported() {
    let mut swarm = swarm();
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    swarm.heartbeat_of("h", (BOOT, 2), &[("a", "degraded"), ("b", "running")]);
    assert_eq!(swarm.states("h"), "a:TearingDown b:TearingDown");
    for crashed in [false, true] {
        if crashed {
            swarm.crash();
        }
        let mut swarm = swarm.again();
        let effects = cancel(&mut swarm, whole.operation_id).expect("cancelled");
        assert_eq!(withdrawals(&effects), 1);
        assert_eq!(
            swarm.states("h"),
            "a:Degraded b:Running",
            "crashed: {crashed}"
        );
    }
}

#[test]
fn only_a_queued_operation_is_cancelled() {
    let mut swarm = swarm();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    swarm.started("h", BOOT, one.operation_id);
    assert_eq!(
        cancel(&mut swarm, one.operation_id),
        Err(ErrorCode::NotCancellable)
    );
    let (two, _) = swarm.teardown("h", Some("b")).expect("accepted");
    cancel(&mut swarm, two.operation_id).expect("cancelled");
    assert_eq!(
        cancel(&mut swarm, two.operation_id),
        Err(ErrorCode::NotCancellable)
    );
    let unknown = OperationId(uuid::Uuid::from_u128(1 << 100));
    assert_eq!(
        cancel(&mut swarm, unknown),
        Err(ErrorCode::OperationNotFound)
    );
}

#[test]
fn a_withdrawal_is_sent_again_until_the_deadline_and_a_result_counts_all_the_same() {
    let mut swarm = swarm();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    cancel(&mut swarm, one.operation_id).expect("cancelled");
    swarm.crash();
    assert!(
        withdrawals(&swarm.after_ms(60_000)) > 3,
        "the agent may have been away"
    );
    let revision = swarm.operation(one.operation_id).attempts;
    assert_eq!(revision, 1, "no other command was sent");
    // It had begun all the same.
    swarm.result("h", (BOOT, 2), one.operation_id, None, &[("a", None)]);
    assert_eq!(swarm.states("h"), "b:Running");
    assert_eq!(
        swarm.operation(one.operation_id).state,
        OperationState::Succeeded
    );
    assert_eq!(withdrawals(&swarm.after_ms(600_000)), 0);
}

#[test]
fn an_operation_that_was_taken_over_has_its_shards_back() {
    let mut swarm = swarm();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    swarm.started("h", BOOT, one.operation_id);
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    cancel(&mut swarm, whole.operation_id).expect("cancelled");
    assert_eq!(swarm.states("h"), "a:TearingDown b:Running");
    assert_eq!(swarm.shards("h")[0].operation_id, Some(one.operation_id));
}

#[test]
fn a_decky_that_vanished_meanwhile_does_not_come_back_as_running() {
    let mut swarm = swarm();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    swarm.heartbeat("h", (BOOT, 2), Some(&["b"]));
    cancel(&mut swarm, one.operation_id).expect("cancelled");
    assert_eq!(swarm.states("h"), "a:Degraded b:Running");
}

fn ask(swarm: &mut Scenario, json: &str, key: Option<&str>) -> Reply {
    swarm.teardown_json(json, key, "alice").0
}

fn accepted(reply: Reply) -> TeardownAccepted {
    match reply {
        Reply::Teardown(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn refused(reply: Reply) -> ErrorReply {
    match reply {
        Reply::Rejected(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

fn plan(swarm: &mut Scenario, json: &str) -> TeardownPlan {
    let written = swarm.journal.len();
    let (reply, effects) = swarm.teardown_json(json, Some("a dry run takes no key"), "alice");
    assert_eq!(
        (effects, swarm.journal.len()),
        (Vec::new(), written),
        "a dry run does nothing"
    );
    match reply {
        Reply::Plan(plan) => plan,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plan_holds_as_long_as_the_targets_are_the_same() {
    let mut swarm = swarm();
    let whole = plan(&mut swarm, r#"{"host_uuid":"h","dry_run":true}"#);
    assert_eq!(whole.targets.len(), 2);
    let expecting = format!(r#"{{"host_uuid":"h","expect_plan":"{}"}}"#, whole.plan);
    swarm.heartbeat("h", (BOOT, 2), Some(&["a", "b", "c"]));
    assert_eq!(
        refused(ask(&mut swarm, &expecting, None)).code,
        ErrorCode::PlanChanged
    );
    assert_eq!(swarm.states("h"), "a:Running b:Running c:Running");
    let (c, _) = swarm.teardown("h", Some("c")).expect("accepted");
    swarm.result("h", (BOOT, 3), c.operation_id, None, &[("c", None)]);
    swarm.heartbeat_of("h", (BOOT, 4), &[("a", "failed"), ("b", "running")]);
    assert_eq!(accepted(ask(&mut swarm, &expecting, None)).shards, 2);
    let one = plan(
        &mut swarm,
        r#"{"host_uuid":"h","decky_id":"a","dry_run":true}"#,
    );
    assert_ne!(one.plan, whole.plan);
    let missing = r#"{"host_uuid":"h","decky_id":"x","dry_run":true}"#;
    assert_eq!(
        refused(ask(&mut swarm, missing, None)).code,
        ErrorCode::ShardNotFound
    );
}

#[test]
fn a_request_repeated_with_its_key_is_answered_as_it_was() {
    const REQUEST: &str = r#"{"host_uuid":"h","decky_id":"a"}"#;
    let mut swarm = swarm();
    let first = accepted(ask(&mut swarm, REQUEST, Some("k")));
    assert!(!first.repeated);
    swarm.result("h", (BOOT, 2), first.operation_id, None, &[("a", None)]);
    // Deployed anew: a repeat must not take it down.
    swarm.heartbeat("h", (BOOT, 3), Some(&["a", "b"]));
    for crashed in [false, true] {
        if crashed {
            swarm.crash();
        }
        let again = accepted(ask(&mut swarm, REQUEST, Some("k")));
        let same = TeardownAccepted {
            repeated: true,
            ..first.clone()
        };
        assert_eq!(again, same, "crashed: {crashed}");
        assert_eq!(swarm.states("h"), "a:Running b:Running");
        let other = ask(&mut swarm, r#"{"host_uuid":"h","decky_id":"b"}"#, Some("k"));
        assert_eq!(refused(other).code, ErrorCode::IdempotencyConflict);
    }
    let (another, _) = swarm.teardown_json(REQUEST, Some("k"), "bob");
    assert_ne!(
        accepted(another).operation_id,
        first.operation_id,
        "keys are each requester's own"
    );
}

#[test]
fn a_key_is_kept_for_a_day() {
    const REQUEST: &str = r#"{"host_uuid":"h","decky_id":"a","timeout_s":1}"#;
    let mut swarm = swarm();
    let first = accepted(ask(&mut swarm, REQUEST, Some("k")));
    swarm.after_ms(24 * 3600 * 1000 - 1);
    assert!(accepted(ask(&mut swarm, REQUEST, Some("k"))).repeated);
    swarm.after_ms(1);
    let later = accepted(ask(&mut swarm, REQUEST, Some("k")));
    assert!(!later.repeated && later.operation_id != first.operation_id);
    let kept = swarm
        .journal
        .iter()
        .filter(|change| matches!(change, crate::record::change::Change::KeyRemoved { .. }));
    assert_eq!(kept.count(), 1);
}

#[test]
fn a_request_that_joined_an_open_operation_keeps_its_key_as_well() {
    const REQUEST: &str = r#"{"host_uuid":"h","decky_id":"a"}"#;
    let mut swarm = swarm();
    let first = accepted(ask(&mut swarm, REQUEST, None));
    let joined = accepted(ask(&mut swarm, REQUEST, Some("k")));
    assert_eq!(joined.operation_id, first.operation_id);
    swarm.result("h", (BOOT, 2), first.operation_id, None, &[("a", None)]);
    swarm.heartbeat("h", (BOOT, 3), Some(&["a", "b"]));
    assert_eq!(accepted(ask(&mut swarm, REQUEST, Some("k"))), joined);
}

#[test]
fn a_host_with_shards_leaves_only_by_force() {
    let mut swarm = swarm();
    let (open, _) = swarm.teardown("h", Some("a")).expect("accepted");
    assert_eq!(
        swarm
            .decommission("h", false)
            .expect_err("shards remain")
            .code,
        ErrorCode::BadRequest
    );
    let gone = swarm.decommission("h", true).expect("forced");
    assert!(
        gone.detail.contains("may still be running"),
        "{}",
        gone.detail
    );
    assert_eq!((gone.host.shards, gone.host.open_operations), (0, 0));
    let ended = swarm.operation(open.operation_id);
    assert_eq!(ended.state, OperationState::Failed);
    assert_eq!(
        ended.error.expect("an error").as_str(),
        "host decommissioned"
    );
    for crashed in [false, true] {
        if crashed {
            swarm.crash();
        }
        let refused = [
            swarm.teardown("h", None).expect_err("refused").code,
            swarm.decommission("h", true).expect_err("refused").code,
            swarm
                .try_heartbeat("h", (BOOT, 2), Some(&["a"]))
                .expect_err("refused")
                .code,
        ];
        assert_eq!(
            refused,
            [ErrorCode::HostDecommissioned; 3],
            "crashed: {crashed}"
        );
    }
    assert_eq!(
        swarm
            .decommission("nowhere", true)
            .expect_err("unknown")
            .code,
        ErrorCode::HostNotFound
    );
}

#[test]
fn a_decommissioned_host_may_come_back_and_old_reports_stay_stale() {
    let mut swarm = swarm();
    swarm.decommission("h", true).expect("forced");
    swarm
        .enroll("worker-h", Some("i"))
        .expect("its name is free");
    swarm.decommission("i", false).expect("nothing is there");
    assert!(
        !swarm
            .enroll("worker-h", Some("h"))
            .expect("both are free")
            .repeated
    );
    assert!(swarm.heartbeat("h", (BOOT - 1, 9), Some(&["a"])).0.stale);
    assert_eq!(swarm.states("h"), "");
    assert!(swarm.heartbeat("h", (BOOT, 2), None).0.send_inventory);
    swarm.heartbeat("h", (BOOT, 3), Some(&["a"]));
    assert_eq!(swarm.states("h"), "a:Running");
}

fn waits(swarm: &mut Scenario, id: OperationId) -> (String, String) {
    let waiting = swarm
        .operation(id)
        .waiting_for
        .expect("an open operation waits");
    (waiting.what.into_owned(), waiting.detail.into_owned())
}

#[test]
fn an_open_operation_says_what_it_waits_for() {
    let mut swarm = swarm();
    let (a, _) = swarm.teardown("h", Some("a")).expect("accepted");
    assert_eq!(waits(&mut swarm, a.operation_id).0, "agent");
    swarm.started("h", BOOT, a.operation_id);
    let (what, detail) = waits(&mut swarm, a.operation_id);
    assert_eq!(what, "teardown");
    assert!(detail.contains("started"), "{detail}");
    let (b, _) = swarm.teardown("h", Some("b")).expect("accepted");
    let (what, detail) = waits(&mut swarm, b.operation_id);
    assert_eq!(what, "operation");
    assert!(detail.contains(&a.operation_id.to_string()), "{detail}");
    swarm.after_ms(31_000);
    let waiting = swarm
        .operation(b.operation_id)
        .waiting_for
        .expect("still open");
    assert!(
        waiting.detail.starts_with("host offline since"),
        "{}",
        waiting.detail
    );
    assert!(waiting.next_attempt_at.is_some_and(|at| at > swarm.now));
    swarm.result("h", (BOOT, 2), a.operation_id, None, &[("a", None)]);
    assert_eq!(swarm.operation(a.operation_id).waiting_for, None);
}
