//! The life cycle of shards and operations, from request to result or deadline. Each test checks
//! one promise of the protocol.

use scuttle_schemas::OperationId;
use scuttle_schemas::agents::AgentCommand;
use scuttle_schemas::operations::OperationState;

use crate::api::Effect;
use crate::tests::scenario::{Scenario, report};

const BOOT: u128 = 7;

/// Returns the attempt numbers of the teardown commands.
fn command_attempts(effects: &[Effect]) -> Vec<u32> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Command {
                command: AgentCommand::Teardown(command),
                ..
            } => Some(command.attempt),
            _ => None,
        })
        .collect()
}

/// Returns a swarm with the host `h`, whose agent has reported the deckies `a` and `b`.
fn swarm_with_host() -> Scenario {
    let mut swarm = Scenario::new();
    swarm.enroll("worker-h", Some("h")).expect("new");
    let (reply, _) = swarm.heartbeat("h", report(BOOT, 1), Some(&["a", "b"]));
    assert!(!reply.send_inventory && !reply.stale);
    assert_eq!(swarm.states("h"), "a:Running b:Running");
    swarm
}

#[test]
fn a_teardown_removes_its_shard() {
    let mut swarm = swarm_with_host();
    let (accepted, effects) = swarm.teardown("h", Some("a")).expect("accepted");
    assert_eq!(command_attempts(&effects), [1]);
    assert_eq!(swarm.states("h"), "a:TearingDown b:Running");
    swarm.report_started("h", BOOT, accepted.operation_id);
    assert_eq!(
        swarm.operation(accepted.operation_id).state,
        OperationState::Running
    );
    swarm.report_result(
        "h",
        report(BOOT, 2),
        accepted.operation_id,
        None,
        &[("a", None)],
    );
    assert_eq!(swarm.states("h"), "b:Running");
    assert_eq!(
        swarm.operation(accepted.operation_id).state,
        OperationState::Succeeded
    );
}

#[test]
fn a_request_for_a_covered_target_joins_the_open_operation() {
    let mut swarm = swarm_with_host();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    let (again, effects) = swarm.teardown("h", Some("a")).expect("accepted");
    assert!(again.repeated && again.operation_id == one.operation_id);
    assert_eq!(effects, []);
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    assert!(!whole.repeated && whole.shards == 2);
    let (covered, _) = swarm.teardown("h", Some("b")).expect("accepted");
    assert!(covered.repeated && covered.operation_id == whole.operation_id);
    assert!(swarm.teardown("h", None).expect("accepted").0.repeated);
    // The failure of the older operation does not affect the shard, which the newer one holds.
    swarm.report_result(
        "h",
        report(BOOT, 2),
        one.operation_id,
        None,
        &[("a", Some("busy"))],
    );
    assert_eq!(swarm.states("h"), "a:TearingDown b:TearingDown");
}

#[test]
fn the_success_of_a_whole_host_keeps_deckies_that_were_registered_later() {
    let mut swarm = swarm_with_host();
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    swarm.heartbeat("h", report(BOOT, 2), Some(&["a", "b", "c"]));
    swarm.report_result(
        "h",
        report(BOOT, 3),
        whole.operation_id,
        None,
        &[("a", None)],
    );
    assert_eq!(swarm.states("h"), "c:Running");
}

#[test]
fn a_decky_that_was_deployed_again_survives_a_success_that_does_not_mention_it() {
    let mut swarm = swarm_with_host();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    swarm.report_result("h", report(BOOT, 2), one.operation_id, None, &[("a", None)]);
    swarm.heartbeat("h", report(BOOT, 3), Some(&["a", "b"]));
    assert_eq!(swarm.states("h"), "a:Running b:TearingDown");
    swarm.report_result(
        "h",
        report(BOOT, 4),
        whole.operation_id,
        None,
        &[("b", None)],
    );
    assert_eq!(swarm.states("h"), "a:Running");
}

#[test]
fn a_failure_does_not_affect_a_decky_that_an_earlier_operation_has_removed() {
    let mut swarm = swarm_with_host();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    swarm.report_result("h", report(BOOT, 2), one.operation_id, None, &[("a", None)]);
    swarm.heartbeat("h", report(BOOT, 3), Some(&["a", "b"]));
    let busy = Some("busy");
    swarm.report_result(
        "h",
        report(BOOT, 4),
        whole.operation_id,
        busy,
        &[("b", busy)],
    );
    assert_eq!(swarm.states("h"), "a:Running b:TeardownFailed");
    let counts = swarm.operation(whole.operation_id).counts;
    assert_eq!((counts.absent, counts.failed), (1, 1));
}

#[test]
fn a_late_result_keeps_a_decky_that_a_newer_inventory_lists() {
    let mut swarm = swarm_with_host();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    // The result of the first operation is delayed. It arrives after the result of the second
    // operation and after an inventory of the next boot.
    swarm.report_result(
        "h",
        report(BOOT, 3),
        whole.operation_id,
        None,
        &[("b", None)],
    );
    assert_eq!(swarm.states("h"), "");
    swarm.heartbeat("h", report(BOOT + 1, 1), Some(&["a"]));
    let (newest, _) = swarm.teardown("h", Some("a")).expect("accepted");
    swarm.report_result("h", report(BOOT, 2), one.operation_id, None, &[("a", None)]);
    assert_eq!(swarm.states("h"), "a:TearingDown");
    let counts = swarm.operation(one.operation_id).counts;
    assert_eq!((counts.removed, counts.pending), (1, 0));
    let removed = &[("a", None)];
    swarm.report_result("h", report(BOOT + 1, 2), newest.operation_id, None, removed);
    assert_eq!(swarm.states("h"), "");
}

#[test]
fn no_heartbeat_clears_a_failure_or_restores_a_removed_decky() {
    let mut swarm = swarm_with_host();
    let (accepted, _) = swarm.teardown("h", None).expect("accepted");
    swarm.report_result(
        "h",
        report(BOOT, 5),
        accepted.operation_id,
        Some("stuck"),
        &[("a", None)],
    );
    assert_eq!(swarm.states("h"), "b:TeardownFailed");
    for crashed in [false, true] {
        if crashed {
            swarm.crash_and_restart();
        }
        let (reply, _) = swarm.heartbeat("h", report(BOOT, 4), Some(&["a", "b"]));
        assert!(reply.stale, "crashed: {crashed}");
        let (reply, _) = swarm.heartbeat("h", report(BOOT - 1, 99), Some(&["a", "b"]));
        assert!(reply.stale, "crashed: {crashed}");
        assert_eq!(swarm.states("h"), "b:TeardownFailed");
    }
    swarm.heartbeat("h", report(BOOT, 6), Some(&["b"]));
    assert_eq!(swarm.states("h"), "b:TeardownFailed");
    assert_eq!(
        swarm.shards("h")[0]
            .last_error
            .as_ref()
            .expect("an error")
            .as_str(),
        "stuck"
    );
    swarm.heartbeat("h", report(BOOT, 7), Some(&[]));
    assert_eq!(swarm.states("h"), "");
}

#[test]
fn a_result_that_arrives_after_a_newer_inventory_requests_another_inventory() {
    let mut swarm = swarm_with_host();
    let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
    // The agent removed `a` (report 5), and `a` was deployed again (report 6). Report 6 arrives
    // first.
    swarm.heartbeat("h", report(BOOT, 6), Some(&["a", "b"]));
    swarm.report_result(
        "h",
        report(BOOT, 5),
        accepted.operation_id,
        None,
        &[("a", None)],
    );
    assert_eq!(swarm.states("h"), "b:Running");
    let (reply, _) = swarm.heartbeat("h", report(BOOT, 7), None);
    assert!(reply.send_inventory);
    swarm.heartbeat("h", report(BOOT, 8), Some(&["a", "b"]));
    assert_eq!(swarm.states("h"), "a:Running b:Running");
}

#[test]
fn an_operation_times_out_without_proof_and_succeeds_with_a_late_result() {
    let mut swarm = swarm_with_host();
    let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
    let sent = swarm.advance_online_ms("h", report(BOOT, 1), 600_000);
    let sent = command_attempts(&sent);
    assert!(
        sent.len() > 10 && sent[0] == 2,
        "the command is sent again with backoff: {sent:?}"
    );
    let operation = swarm.operation(accepted.operation_id);
    assert_eq!(operation.state, OperationState::TimedOut);
    assert_eq!(operation.error.expect("an error").as_str(), "undelivered");
    assert_eq!(swarm.states("h"), "a:TeardownFailed b:Running");
    let late = report(BOOT, 100);
    swarm.report_result("h", late, accepted.operation_id, None, &[("a", None)]);
    assert_eq!(
        swarm.operation(accepted.operation_id).state,
        OperationState::Succeeded
    );
    assert_eq!(swarm.states("h"), "b:Running");
}

#[test]
fn at_the_deadline_a_shard_that_a_new_inventory_does_not_list_is_removed() {
    let mut swarm = swarm_with_host();
    let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
    let (reply, _) = swarm.heartbeat("h", report(BOOT, 2), None);
    assert!(reply.send_inventory, "the deadline will need proof");
    swarm.now = swarm.now.plus_millis(1);
    swarm.report_started("h", BOOT, accepted.operation_id);
    swarm.heartbeat("h", report(BOOT, 3), Some(&["b"]));
    assert_eq!(swarm.states("h"), "a:TearingDown b:Running");
    assert_eq!(command_attempts(&swarm.advance_ms(600_000)), [] as [u32; 0]);
    assert_eq!(
        swarm.operation(accepted.operation_id).state,
        OperationState::Succeeded
    );
    assert_eq!(swarm.states("h"), "b:Running");
}

#[test]
fn at_the_deadline_an_operation_whose_shards_are_gone_has_succeeded() {
    let mut swarm = swarm_with_host();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    swarm.report_result("h", report(BOOT, 2), one.operation_id, None, &[("a", None)]);
    swarm.heartbeat("h", report(BOOT, 3), Some(&["a", "b"]));
    swarm.advance_ms(600_000);
    let operation = swarm.operation(whole.operation_id);
    assert_eq!(
        operation.state,
        OperationState::TimedOut,
        "b is still listed"
    );
    assert_eq!((operation.counts.absent, operation.counts.failed), (1, 1));
    assert_eq!(swarm.states("h"), "a:Running b:TeardownFailed");

    let (again, _) = swarm.teardown("h", Some("b")).expect("accepted");
    swarm.report_result(
        "h",
        report(BOOT, 4),
        whole.operation_id,
        None,
        &[("b", None)],
    );
    swarm.advance_ms(600_000);
    assert_eq!(
        swarm.operation(again.operation_id).state,
        OperationState::Succeeded
    );
}

#[test]
fn a_host_that_comes_back_or_restarts_gets_its_commands_immediately() {
    let mut swarm = swarm_with_host();
    let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
    swarm.report_started("h", BOOT, accepted.operation_id);
    let (_, effects) = swarm.heartbeat("h", report(BOOT, 2), None);
    assert_eq!(command_attempts(&effects), [] as [u32; 0]);
    let (_, effects) = swarm.heartbeat("h", report(BOOT + 1, 1), Some(&["a", "b"]));
    assert_eq!(command_attempts(&effects), [2], "restarted");
    swarm.report_started("h", BOOT + 1, accepted.operation_id);
    swarm.advance_ms(30_001);
    let (_, effects) = swarm.heartbeat("h", report(BOOT + 1, 2), None);
    assert_eq!(command_attempts(&effects), [3], "back");
    // The attempts since the last change of the operation were not stored.
    let effects = swarm.crash_and_restart();
    assert_eq!(command_attempts(&effects), [2], "after the crash");
    let (reply, effects) = swarm.heartbeat("h", report(BOOT + 1, 3), None);
    assert_eq!(command_attempts(&effects), [] as [u32; 0]);
    assert!(reply.send_inventory);
}

#[test]
fn a_crash_loses_no_accepted_operation() {
    let mut swarm = swarm_with_host();
    let epoch = swarm.state.epoch();
    let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
    let states = swarm.states("h");
    let effects = swarm.crash_and_restart();
    assert!(swarm.state.epoch() > epoch);
    assert_eq!(swarm.states("h"), states);
    let operation = swarm.operation(accepted.operation_id);
    assert_eq!(operation.state, OperationState::Queued);
    assert_eq!(
        command_attempts(&effects),
        [2],
        "the new process sends the command from the stored operation"
    );
}

#[test]
fn a_heartbeat_that_changes_nothing_stores_nothing() {
    let mut swarm = swarm_with_host();
    let stored = swarm.journal.len();
    for sequence in 2..10 {
        swarm.heartbeat(
            "h",
            report(BOOT, sequence),
            (sequence % 2 == 0).then_some(&["a", "b"]),
        );
    }
    assert_eq!(swarm.journal.len(), stored);
}

#[test]
fn a_host_goes_offline_after_three_intervals_without_a_heartbeat() {
    let mut swarm = swarm_with_host();
    let offline = |effects: &[Effect]| {
        effects.iter().any(|effect| match effect {
            Effect::HostsUpdated(message) => !message.updated.is_empty(),
            _ => false,
        })
    };
    assert!(!offline(&swarm.advance_ms(29_999)));
    swarm.heartbeat("h", report(BOOT, 2), None);
    assert!(!offline(&swarm.advance_ms(29_999)));
    assert!(offline(&swarm.advance_ms(1)));
    assert!(!offline(&swarm.advance_ms(100_000)), "announced only once");
}

#[test]
fn a_shard_that_an_inventory_no_longer_lists_is_degraded() {
    let mut swarm = swarm_with_host();
    swarm.heartbeat("h", report(BOOT, 2), Some(&["a"]));
    assert_eq!(swarm.states("h"), "a:Running b:Degraded");
    swarm.heartbeat("h", report(BOOT, 3), Some(&["a", "b"]));
    assert_eq!(swarm.states("h"), "a:Running b:Running");
    assert_eq!(swarm.shards("h")[1].last_error, None);
}

#[test]
fn an_idle_subject_repeats_its_revision() {
    let mut swarm = swarm_with_host();
    let stored = swarm.journal.len();
    let effects = swarm.advance_ms(5_000);
    let repeats = effects.iter().filter(|effect| match effect {
        Effect::ShardsUpdated(message, _) => message.updated.is_empty() && message.revision == 1,
        Effect::HostsUpdated(message) => message.updated.is_empty() && message.revision == 2,
        Effect::OperationsUpdated(message, _) => {
            message.updated.is_empty() && message.revision == 0
        }
        Effect::Command { .. } | Effect::Relayed { .. } | Effect::Quarantine { .. } => false,
    });
    assert_eq!(repeats.count(), 3, "{effects:?}");
    assert_eq!(swarm.journal.len(), stored, "a repeat stores nothing");
}

#[test]
fn a_large_change_is_announced_in_several_messages() {
    let mut swarm = Scenario::new();
    swarm.enroll("worker-h", Some("h")).expect("new");
    let names: Vec<String> = (0..4096).map(|n| format!("decky-{n:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (_, effects) = swarm.heartbeat("h", report(BOOT, 1), Some(&names));
    let messages: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::ShardsUpdated(message, _) => Some(message),
            _ => None,
        })
        .collect();
    assert!(messages.len() > 1);
    for (message, revision) in messages.iter().zip(1..) {
        assert_eq!(message.revision, revision);
        assert!(
            message
                .updated
                .iter()
                .all(|shard| shard.revision == revision)
        );
    }
    assert_eq!(
        messages
            .iter()
            .map(|message| message.updated.len())
            .sum::<usize>(),
        4096
    );
}

#[test]
fn a_batch_shares_a_message_but_a_message_has_each_shard_once() {
    let mut swarm = swarm_with_host();
    let [both] = &swarm.teardown_in_one_batch(&[("h", Some("a")), ("h", Some("b"))])[..] else {
        panic!("one message has both");
    };
    assert_eq!(both.operation_id, None, "the message has two operations");
    assert_eq!(both.updated.len(), 2);
    let mut swarm = swarm_with_host();
    let [first, second] = &swarm.teardown_in_one_batch(&[("h", Some("a")), ("h", None)])[..] else {
        panic!("decky a changes twice, so it needs two messages");
    };
    assert_eq!(first.operation_id, first.updated[0].operation_id);
    assert_eq!(second.updated.len(), 2);
    assert_eq!(second.revision, first.revision + 1);
}

#[test]
fn an_inventory_from_before_the_acceptance_proves_nothing_even_if_the_clock_was_set_back() {
    let mut swarm = swarm_with_host();
    swarm.heartbeat("h", report(BOOT, 2), Some(&["b"]));
    assert_eq!(swarm.states("h"), "a:Degraded b:Running");
    swarm.now = swarm.now.plus_millis(-3_600_000);
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    swarm.advance_ms(600_000);
    assert_eq!(swarm.states("h"), "a:TeardownFailed b:Running");
    assert_eq!(
        swarm.operation(one.operation_id).state,
        OperationState::TimedOut
    );
}

#[test]
fn a_decky_that_was_deployed_during_the_teardown_is_registered_if_it_cannot_be_removed() {
    let mut swarm = swarm_with_host();
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    let shards = [("a", None), ("b", None), ("new", Some("busy"))];
    swarm.report_result("h", report(BOOT, 2), whole.operation_id, None, &shards);
    assert_eq!(swarm.states("h"), "new:TeardownFailed");
    swarm.heartbeat("h", report(BOOT, 3), Some(&["new"]));
    assert_eq!(swarm.states("h"), "new:TeardownFailed");
    assert!(swarm.teardown("h", Some("new")).is_ok());
}

#[test]
fn a_result_of_an_unknown_operation_forces_a_commit() {
    let mut swarm = swarm_with_host();
    let stored = swarm.journal.len();
    let unknown = OperationId(uuid::Uuid::from_u128(1 << 100));
    swarm.report_result("h", report(BOOT, 2), unknown, None, &[("a", None)]);
    assert_eq!(swarm.states("h"), "a:Running b:Running");
    assert!(swarm.journal.len() > stored);
}

#[test]
fn a_failed_shard_that_was_not_listed_before_is_removed_by_the_next_inventory() {
    let mut swarm = swarm_with_host();
    swarm.heartbeat("h", report(BOOT, 2), Some(&["a"]));
    assert_eq!(swarm.states("h"), "a:Running b:Degraded");
    swarm.teardown("h", None).expect("accepted");
    swarm.advance_ms(700_000);
    assert_eq!(swarm.states("h"), "a:TeardownFailed b:TeardownFailed");
    // Nothing has changed at the agent, so it sends an inventory only on request.
    let (reply, _) = swarm.heartbeat("h", report(BOOT, 3), None);
    assert!(reply.send_inventory);
    let (reply, _) = swarm.heartbeat("h", report(BOOT, 4), Some(&["a"]));
    assert!(!reply.send_inventory);
    assert_eq!(swarm.states("h"), "a:TeardownFailed");
}
