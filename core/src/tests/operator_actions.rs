//! Features for operators besides a plain teardown: cancel, dry run, idempotency key, decommission,
//! and `waiting_for`. Each test checks one promise of the protocol.

use scuttle_schemas::agents::{AgentCommand, TeardownCommand};
use scuttle_schemas::operations::{CancelRequest, OperationState};
use scuttle_schemas::teardown::{TeardownAccepted, TeardownPlan};
use scuttle_schemas::{ErrorCode, ErrorReply, OperationId};

use crate::api::{Effect, Input, Reply};
use crate::tests::scenario::{Scenario, report};

const BOOT: u128 = 7;

/// Returns a swarm with the host `h`, whose agent has reported the deckies `a` and `b`.
fn swarm_with_host() -> Scenario {
    let mut swarm = Scenario::new();
    swarm.enroll("worker-h", Some("h")).expect("new");
    swarm.heartbeat("h", report(BOOT, 1), Some(&["a", "b"]));
    swarm
}

fn cancel(swarm: &mut Scenario, operation_id: OperationId) -> Result<Vec<Effect>, ErrorCode> {
    match swarm.request(Input::Cancel(CancelRequest { operation_id })) {
        (Reply::Cancelled(accepted), effects) => {
            assert_eq!(accepted.operation.state, OperationState::Cancelled);
            Ok(effects)
        }
        (Reply::Rejected(error), _) => Err(error.code),
        other => panic!("{other:?}"),
    }
}

fn count_cancel_commands(effects: &[Effect]) -> usize {
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
fn the_shards_of_a_cancelled_operation_return_to_the_state_that_their_agent_reported() {
    let mut swarm = swarm_with_host();
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    swarm.heartbeat_with_states("h", report(BOOT, 2), &[("a", "degraded"), ("b", "running")]);
    assert_eq!(swarm.states("h"), "a:TearingDown b:TearingDown");
    for crashed in [false, true] {
        if crashed {
            swarm.crash_and_restart();
        }
        let mut swarm = swarm.restarted_copy();
        let effects = cancel(&mut swarm, whole.operation_id).expect("cancelled");
        assert_eq!(count_cancel_commands(&effects), 1);
        assert_eq!(
            swarm.states("h"),
            "a:Degraded b:Running",
            "crashed: {crashed}"
        );
    }
}

#[test]
fn only_a_queued_operation_can_be_cancelled() {
    let mut swarm = swarm_with_host();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    swarm.report_started("h", BOOT, one.operation_id);
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
fn a_cancel_command_is_repeated_until_the_deadline_or_a_result() {
    let mut swarm = swarm_with_host();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    cancel(&mut swarm, one.operation_id).expect("cancelled");
    swarm.crash_and_restart();
    assert!(
        count_cancel_commands(&swarm.advance_ms(60_000)) > 3,
        "the agent may have been offline"
    );
    let attempts = swarm.operation(one.operation_id).attempts;
    assert_eq!(attempts, 1, "the teardown command is not sent again");
    // The agent had started the operation before the cancel command arrived.
    swarm.report_result("h", report(BOOT, 2), one.operation_id, None, &[("a", None)]);
    assert_eq!(swarm.states("h"), "b:Running");
    assert_eq!(
        swarm.operation(one.operation_id).state,
        OperationState::Succeeded
    );
    assert_eq!(count_cancel_commands(&swarm.advance_ms(600_000)), 0);
}

#[test]
fn an_operation_gets_its_shards_back_when_the_newer_one_is_cancelled() {
    let mut swarm = swarm_with_host();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    swarm.report_started("h", BOOT, one.operation_id);
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    cancel(&mut swarm, whole.operation_id).expect("cancelled");
    assert_eq!(swarm.states("h"), "a:TearingDown b:Running");
    assert_eq!(swarm.shards("h")[0].operation_id, Some(one.operation_id));
}

#[test]
fn a_decky_that_is_no_longer_listed_is_degraded_after_a_cancel() {
    let mut swarm = swarm_with_host();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    swarm.heartbeat("h", report(BOOT, 2), Some(&["b"]));
    cancel(&mut swarm, one.operation_id).expect("cancelled");
    assert_eq!(swarm.states("h"), "a:Degraded b:Running");
}

fn request_teardown(swarm: &mut Scenario, json: &str, key: Option<&str>) -> Reply {
    swarm.teardown_json(json, key, "alice").0
}

fn expect_accepted(reply: Reply) -> TeardownAccepted {
    match reply {
        Reply::Teardown(accepted) => accepted,
        other => panic!("{other:?}"),
    }
}

fn expect_rejected(reply: Reply) -> ErrorReply {
    match reply {
        Reply::Rejected(error) => error,
        other => panic!("{other:?}"),
    }
}

fn request_plan(swarm: &mut Scenario, json: &str) -> TeardownPlan {
    let stored = swarm.journal.len();
    let (reply, effects) = swarm.teardown_json(json, Some("a dry run uses no key"), "alice");
    assert_eq!(
        (effects, swarm.journal.len()),
        (Vec::new(), stored),
        "a dry run stores and sends nothing"
    );
    match reply {
        Reply::Plan(plan) => plan,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plan_is_valid_as_long_as_the_targets_are_the_same() {
    let mut swarm = swarm_with_host();
    let whole = request_plan(&mut swarm, r#"{"host_uuid":"h","dry_run":true}"#);
    assert_eq!(whole.targets.len(), 2);
    let expecting = format!(r#"{{"host_uuid":"h","expect_plan":"{}"}}"#, whole.plan);
    swarm.heartbeat("h", report(BOOT, 2), Some(&["a", "b", "c"]));
    assert_eq!(
        expect_rejected(request_teardown(&mut swarm, &expecting, None)).code,
        ErrorCode::PlanChanged
    );
    assert_eq!(swarm.states("h"), "a:Running b:Running c:Running");
    let (c, _) = swarm.teardown("h", Some("c")).expect("accepted");
    swarm.report_result("h", report(BOOT, 3), c.operation_id, None, &[("c", None)]);
    swarm.heartbeat_with_states("h", report(BOOT, 4), &[("a", "failed"), ("b", "running")]);
    assert_eq!(
        expect_accepted(request_teardown(&mut swarm, &expecting, None)).shards,
        2
    );
    let one = request_plan(
        &mut swarm,
        r#"{"host_uuid":"h","decky_id":"a","dry_run":true}"#,
    );
    assert_ne!(one.plan, whole.plan);
    let missing = r#"{"host_uuid":"h","decky_id":"x","dry_run":true}"#;
    assert_eq!(
        expect_rejected(request_teardown(&mut swarm, missing, None)).code,
        ErrorCode::ShardNotFound
    );
}

#[test]
fn a_repeated_key_gets_the_same_reply() {
    const REQUEST: &str = r#"{"host_uuid":"h","decky_id":"a"}"#;
    let mut swarm = swarm_with_host();
    let first = expect_accepted(request_teardown(&mut swarm, REQUEST, Some("k")));
    assert!(!first.repeated);
    swarm.report_result(
        "h",
        report(BOOT, 2),
        first.operation_id,
        None,
        &[("a", None)],
    );
    // `a` is deployed again. A repeat of the request must not tear it down.
    swarm.heartbeat("h", report(BOOT, 3), Some(&["a", "b"]));
    for crashed in [false, true] {
        if crashed {
            swarm.crash_and_restart();
        }
        let repeat = expect_accepted(request_teardown(&mut swarm, REQUEST, Some("k")));
        let same = TeardownAccepted {
            repeated: true,
            ..first.clone()
        };
        assert_eq!(repeat, same, "crashed: {crashed}");
        assert_eq!(swarm.states("h"), "a:Running b:Running");
        let other = request_teardown(&mut swarm, r#"{"host_uuid":"h","decky_id":"b"}"#, Some("k"));
        assert_eq!(expect_rejected(other).code, ErrorCode::IdempotencyConflict);
    }
    let (another, _) = swarm.teardown_json(REQUEST, Some("k"), "bob");
    assert_ne!(
        expect_accepted(another).operation_id,
        first.operation_id,
        "two requesters may use the same key"
    );
}

#[test]
fn a_key_is_kept_for_a_day() {
    const REQUEST: &str = r#"{"host_uuid":"h","decky_id":"a","timeout_s":1}"#;
    let mut swarm = swarm_with_host();
    let first = expect_accepted(request_teardown(&mut swarm, REQUEST, Some("k")));
    swarm.advance_ms(24 * 3600 * 1000 - 1);
    assert!(expect_accepted(request_teardown(&mut swarm, REQUEST, Some("k"))).repeated);
    swarm.advance_ms(1);
    let later = expect_accepted(request_teardown(&mut swarm, REQUEST, Some("k")));
    assert!(!later.repeated && later.operation_id != first.operation_id);
    let kept = swarm
        .journal
        .iter()
        .filter(|change| matches!(change, crate::record::change::Change::KeyRemoved { .. }));
    assert_eq!(kept.count(), 1);
}

#[test]
fn a_request_that_joins_an_open_operation_keeps_its_key_too() {
    const REQUEST: &str = r#"{"host_uuid":"h","decky_id":"a"}"#;
    let mut swarm = swarm_with_host();
    let first = expect_accepted(request_teardown(&mut swarm, REQUEST, None));
    let joined = expect_accepted(request_teardown(&mut swarm, REQUEST, Some("k")));
    assert_eq!(joined.operation_id, first.operation_id);
    swarm.report_result(
        "h",
        report(BOOT, 2),
        first.operation_id,
        None,
        &[("a", None)],
    );
    swarm.heartbeat("h", report(BOOT, 3), Some(&["a", "b"]));
    assert_eq!(
        expect_accepted(request_teardown(&mut swarm, REQUEST, Some("k"))),
        joined
    );
}

fn sent_commands(effects: &[Effect]) -> Vec<TeardownCommand> {
    let commands = effects.iter().filter_map(|effect| match effect {
        Effect::Command {
            command: AgentCommand::Teardown(command),
            ..
        } => Some(command.clone()),
        _ => None,
    });
    commands.collect()
}

#[test]
fn every_copy_of_a_command_carries_the_override_of_its_request() {
    const REQUEST: &str = r#"{"host_uuid":"h","decky_id":"a","override_protection":true}"#;
    let mut swarm = swarm_with_host();
    let (_, effects) = swarm.teardown_json(REQUEST, None, "alice");
    let [first] = &sent_commands(&effects)[..] else {
        panic!("expected one command: {effects:?}");
    };
    assert!(first.override_protection);
    let repeats = sent_commands(&swarm.advance_ms(5_000));
    let after_crash = sent_commands(&swarm.crash_and_restart());
    swarm.advance_ms(5_000);
    let (_, effects) = swarm.heartbeat("h", report(BOOT + 1, 1), Some(&["a", "b"]));
    for commands in [repeats, after_crash, sent_commands(&effects)] {
        assert!(commands.iter().all(|command| command.override_protection));
    }
    assert_eq!(sent_commands(&effects).len(), 1);
    let (_, effects) = swarm.teardown("h", Some("b")).expect("accepted");
    assert!(!sent_commands(&effects)[0].override_protection);
}

/// Otherwise the override would be lost, and the agent would refuse a protected decky.
#[test]
fn a_request_with_an_override_does_not_join_an_operation_without_one() {
    let mut swarm = swarm_with_host();
    for (decky, request) in [
        (
            Some("a"),
            r#"{"host_uuid":"h","decky_id":"a","override_protection":true}"#,
        ),
        (None, r#"{"host_uuid":"h","override_protection":true}"#),
    ] {
        let (plain, _) = swarm.teardown("h", decky).expect("accepted");
        let overriding = expect_accepted(request_teardown(&mut swarm, request, None));
        assert!(!overriding.repeated);
        assert_ne!(overriding.operation_id, plain.operation_id);
        let (joined, _) = swarm.teardown("h", decky).expect("accepted");
        assert_eq!(joined.operation_id, overriding.operation_id);
        let again = expect_accepted(request_teardown(&mut swarm, request, None));
        assert_eq!(again.operation_id, overriding.operation_id);
    }
}

#[test]
fn a_key_belongs_to_a_request_with_the_same_override() {
    let mut swarm = swarm_with_host();
    let plain = r#"{"host_uuid":"h","decky_id":"a"}"#;
    let explicit = r#"{"host_uuid":"h","decky_id":"a","override_protection":false}"#;
    let overriding = r#"{"host_uuid":"h","decky_id":"a","override_protection":true}"#;
    let first = expect_accepted(request_teardown(&mut swarm, plain, Some("k")));
    let repeat = expect_accepted(request_teardown(&mut swarm, explicit, Some("k")));
    assert_eq!(repeat.operation_id, first.operation_id);
    let other = expect_rejected(request_teardown(&mut swarm, overriding, Some("k")));
    assert_eq!(other.code, ErrorCode::IdempotencyConflict);
}

#[test]
fn a_host_with_shards_is_decommissioned_only_with_force() {
    let mut swarm = swarm_with_host();
    let (open, _) = swarm.teardown("h", Some("a")).expect("accepted");
    assert_eq!(
        swarm
            .decommission("h", false)
            .expect_err("shards remain")
            .code,
        ErrorCode::BadRequest
    );
    let decommissioned = swarm.decommission("h", true).expect("forced");
    assert!(
        decommissioned.detail.contains("may still be running"),
        "{}",
        decommissioned.detail
    );
    assert_eq!(
        (
            decommissioned.host.shards,
            decommissioned.host.open_operations
        ),
        (0, 0)
    );
    let ended = swarm.operation(open.operation_id);
    assert_eq!(ended.state, OperationState::Failed);
    assert_eq!(
        ended.error.expect("an error").as_str(),
        "host decommissioned"
    );
    for crashed in [false, true] {
        if crashed {
            swarm.crash_and_restart();
        }
        let codes = [
            swarm.teardown("h", None).expect_err("rejected").code,
            swarm.decommission("h", true).expect_err("rejected").code,
            swarm
                .try_heartbeat("h", report(BOOT, 2), Some(&["a"]))
                .expect_err("rejected")
                .code,
        ];
        assert_eq!(
            codes,
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
fn a_host_can_be_enrolled_again_and_its_last_report_is_forgotten() {
    let mut swarm = swarm_with_host();
    swarm.heartbeat("h", report(BOOT + 9, 1), None);
    swarm.decommission("h", true).expect("forced");
    swarm
        .enroll("worker-h", Some("i"))
        .expect("the name is available");
    swarm
        .decommission("i", false)
        .expect("the host has no shards");
    assert!(
        !swarm
            .enroll("worker-h", Some("h"))
            .expect("name and id are available")
            .repeated
    );
    swarm.crash_and_restart();
    assert_eq!(swarm.states("h"), "");
    let (reply, _) = swarm.heartbeat("h", report(BOOT, 2), None);
    assert!(!reply.stale && reply.send_inventory);
    swarm.heartbeat("h", report(BOOT, 3), Some(&["a"]));
    assert_eq!(swarm.states("h"), "a:Running");
}

fn waiting_for(swarm: &mut Scenario, id: OperationId) -> (String, String) {
    let waiting = swarm
        .operation(id)
        .waiting_for
        .expect("an open operation waits");
    (waiting.what.into_owned(), waiting.detail.into_owned())
}

#[test]
fn an_open_operation_shows_what_it_waits_for() {
    let mut swarm = swarm_with_host();
    let (a, _) = swarm.teardown("h", Some("a")).expect("accepted");
    assert_eq!(waiting_for(&mut swarm, a.operation_id).0, "agent");
    swarm.report_started("h", BOOT, a.operation_id);
    let (what, detail) = waiting_for(&mut swarm, a.operation_id);
    assert_eq!(what, "teardown");
    assert!(detail.contains("started"), "{detail}");
    let (b, _) = swarm.teardown("h", Some("b")).expect("accepted");
    // The agent tears down different deckies at the same time.
    assert_eq!(waiting_for(&mut swarm, b.operation_id).0, "agent");
    let (all, _) = swarm.teardown("h", None).expect("accepted");
    let (what, detail) = waiting_for(&mut swarm, all.operation_id);
    assert_eq!(what, "operation");
    assert!(detail.contains(&a.operation_id.to_string()), "{detail}");
    swarm.advance_ms(31_000);
    let waiting = swarm
        .operation(b.operation_id)
        .waiting_for
        .expect("still open");
    assert!(
        waiting.detail.starts_with("host offline since"),
        "{}",
        waiting.detail
    );
    assert_eq!(waiting.next_attempt_at, None, "the host is not online");
    swarm.report_result("h", report(BOOT, 2), a.operation_id, None, &[("a", None)]);
    assert_eq!(swarm.operation(a.operation_id).waiting_for, None);
}
