//! Tests of the rules as a whole: each is one promise of the protocol, told as a story.

use scuttle_schemas::OperationId;
use scuttle_schemas::agents::AgentCommand;
use scuttle_schemas::operations::OperationState;

use crate::api::Effect;
use crate::tests::scenario::Scenario;

const BOOT: u128 = 7;

fn commands(effects: &[Effect]) -> Vec<u32> {
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

/// A host `h` whose agent reported deckies `a` and `b`.
fn swarm() -> Scenario {
    let mut swarm = Scenario::new();
    swarm.enroll("worker-h", Some("h")).expect("new");
    let (answer, _) = swarm.heartbeat("h", (BOOT, 1), Some(&["a", "b"]));
    assert!(!answer.send_inventory && !answer.stale);
    assert_eq!(swarm.states("h"), "a:Running b:Running");
    swarm
}

#[test]
fn a_teardown_goes_from_request_to_removal() {
    let mut swarm = swarm();
    let (accepted, effects) = swarm.teardown("h", Some("a")).expect("accepted");
    assert_eq!(commands(&effects), [1]);
    assert_eq!(swarm.states("h"), "a:TearingDown b:Running");
    swarm.started("h", BOOT, accepted.operation_id);
    assert_eq!(
        swarm.operation(accepted.operation_id).state,
        OperationState::Running
    );
    swarm.result("h", (BOOT, 2), accepted.operation_id, None, &[("a", None)]);
    assert_eq!(swarm.states("h"), "b:Running");
    assert_eq!(
        swarm.operation(accepted.operation_id).state,
        OperationState::Succeeded
    );
}

#[test]
fn the_same_target_makes_one_command_and_a_whole_host_covers_its_deckies() {
    let mut swarm = swarm();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    let (again, effects) = swarm.teardown("h", Some("a")).expect("accepted");
    assert!(again.repeated && again.operation_id == one.operation_id);
    assert_eq!(effects, []);
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    assert!(!whole.repeated && whole.shards == 2);
    let (covered, _) = swarm.teardown("h", Some("b")).expect("accepted");
    assert!(covered.repeated && covered.operation_id == whole.operation_id);
    assert!(swarm.teardown("h", None).expect("accepted").0.repeated);
    // The older operation's failure is not the newer one's.
    swarm.result(
        "h",
        (BOOT, 2),
        one.operation_id,
        None,
        &[("a", Some("busy"))],
    );
    assert_eq!(swarm.states("h"), "a:TearingDown b:TearingDown");
}

#[test]
fn whole_host_success_leaves_what_was_registered_later() {
    let mut swarm = swarm();
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    swarm.heartbeat("h", (BOOT, 2), Some(&["a", "b", "c"]));
    swarm.result("h", (BOOT, 3), whole.operation_id, None, &[("a", None)]);
    assert_eq!(swarm.states("h"), "c:Running");
}

#[test]
fn a_decky_that_was_deployed_anew_outlives_a_success_that_does_not_mention_it() {
    let mut swarm = swarm();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    swarm.result("h", (BOOT, 2), one.operation_id, None, &[("a", None)]);
    swarm.heartbeat("h", (BOOT, 3), Some(&["a", "b"]));
    assert_eq!(swarm.states("h"), "a:Running b:TearingDown");
    swarm.result("h", (BOOT, 4), whole.operation_id, None, &[("b", None)]);
    assert_eq!(swarm.states("h"), "a:Running");
}

#[test]
fn a_failure_is_not_one_of_a_decky_that_an_earlier_operation_had_removed() {
    let mut swarm = swarm();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    swarm.result("h", (BOOT, 2), one.operation_id, None, &[("a", None)]);
    swarm.heartbeat("h", (BOOT, 3), Some(&["a", "b"]));
    let busy = Some("busy");
    swarm.result("h", (BOOT, 4), whole.operation_id, busy, &[("b", busy)]);
    assert_eq!(swarm.states("h"), "a:Running b:TeardownFailed");
    let counts = swarm.operation(whole.operation_id).counts;
    assert_eq!((counts.absent, counts.failed), (1, 1));
}

#[test]
fn a_late_result_leaves_a_decky_that_a_later_inventory_lists_anew() {
    let mut swarm = swarm();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    // The first one's result, the second of its boot, is on its way while a new boot tells of the second one.
    swarm.result("h", (BOOT, 3), whole.operation_id, None, &[("b", None)]);
    assert_eq!(swarm.states("h"), "");
    swarm.heartbeat("h", (BOOT + 1, 1), Some(&["a"]));
    let (anew, _) = swarm.teardown("h", Some("a")).expect("accepted");
    swarm.result("h", (BOOT, 2), one.operation_id, None, &[("a", None)]);
    assert_eq!(swarm.states("h"), "a:TearingDown");
    let counts = swarm.operation(one.operation_id).counts;
    assert_eq!((counts.removed, counts.pending), (1, 0));
    let removed = &[("a", None)];
    swarm.result("h", (BOOT + 1, 2), anew.operation_id, None, removed);
    assert_eq!(swarm.states("h"), "");
}

#[test]
fn no_heartbeat_clears_a_failure_or_brings_a_removed_decky_back() {
    let mut swarm = swarm();
    let (accepted, _) = swarm.teardown("h", None).expect("accepted");
    swarm.result(
        "h",
        (BOOT, 5),
        accepted.operation_id,
        Some("stuck"),
        &[("a", None)],
    );
    assert_eq!(swarm.states("h"), "b:TeardownFailed");
    for crashed in [false, true] {
        if crashed {
            swarm.crash();
        }
        let (answer, _) = swarm.heartbeat("h", (BOOT, 4), Some(&["a", "b"]));
        assert!(answer.stale, "crashed: {crashed}");
        let (answer, _) = swarm.heartbeat("h", (BOOT - 1, 99), Some(&["a", "b"]));
        assert!(answer.stale, "crashed: {crashed}");
        assert_eq!(swarm.states("h"), "b:TeardownFailed");
    }
    swarm.heartbeat("h", (BOOT, 6), Some(&["b"]));
    assert_eq!(swarm.states("h"), "b:TeardownFailed");
    assert_eq!(
        swarm.shards("h")[0]
            .last_error
            .as_ref()
            .expect("an error")
            .as_str(),
        "stuck"
    );
    swarm.heartbeat("h", (BOOT, 7), Some(&[]));
    assert_eq!(swarm.states("h"), "");
}

#[test]
fn a_result_that_was_overtaken_makes_the_controller_look_again() {
    let mut swarm = swarm();
    let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
    // The agent removed `a` (5), it was deployed again, and that inventory (6) came first.
    swarm.heartbeat("h", (BOOT, 6), Some(&["a", "b"]));
    swarm.result("h", (BOOT, 5), accepted.operation_id, None, &[("a", None)]);
    assert_eq!(swarm.states("h"), "b:Running");
    let (answer, _) = swarm.heartbeat("h", (BOOT, 7), None);
    assert!(answer.send_inventory);
    swarm.heartbeat("h", (BOOT, 8), Some(&["a", "b"]));
    assert_eq!(swarm.states("h"), "a:Running b:Running");
}

#[test]
fn the_deadline_needs_proof_and_a_late_result_heals() {
    let mut swarm = swarm();
    let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
    let sent = commands(&swarm.after_ms(600_000));
    assert!(
        sent.len() > 10 && sent[0] == 2,
        "sent again with backoff: {sent:?}"
    );
    let operation = swarm.operation(accepted.operation_id);
    assert_eq!(operation.state, OperationState::TimedOut);
    assert_eq!(operation.error.expect("an error").as_str(), "undelivered");
    assert_eq!(swarm.states("h"), "a:TeardownFailed b:Running");
    swarm.result("h", (BOOT, 2), accepted.operation_id, None, &[("a", None)]);
    assert_eq!(
        swarm.operation(accepted.operation_id).state,
        OperationState::Succeeded
    );
    assert_eq!(swarm.states("h"), "b:Running");
}

#[test]
fn at_the_deadline_what_a_new_inventory_does_not_list_is_gone() {
    let mut swarm = swarm();
    let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
    let (answer, _) = swarm.heartbeat("h", (BOOT, 2), None);
    assert!(answer.send_inventory, "the deadline will need proof");
    swarm.now = swarm.now.plus_millis(1);
    swarm.started("h", BOOT, accepted.operation_id);
    swarm.heartbeat("h", (BOOT, 3), Some(&["b"]));
    assert_eq!(swarm.states("h"), "a:TearingDown b:Running");
    assert_eq!(commands(&swarm.after_ms(600_000)), [] as [u32; 0]);
    assert_eq!(
        swarm.operation(accepted.operation_id).state,
        OperationState::Succeeded
    );
    assert_eq!(swarm.states("h"), "b:Running");
}

#[test]
fn at_the_deadline_an_operation_whose_shards_are_gone_has_succeeded() {
    let mut swarm = swarm();
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    swarm.result("h", (BOOT, 2), one.operation_id, None, &[("a", None)]);
    swarm.heartbeat("h", (BOOT, 3), Some(&["a", "b"]));
    swarm.after_ms(600_000);
    let operation = swarm.operation(whole.operation_id);
    assert_eq!(
        operation.state,
        OperationState::TimedOut,
        "b is still listed"
    );
    assert_eq!((operation.counts.absent, operation.counts.failed), (1, 1));
    assert_eq!(swarm.states("h"), "a:Running b:TeardownFailed");

    let (again, _) = swarm.teardown("h", Some("b")).expect("accepted");
    swarm.result("h", (BOOT, 4), whole.operation_id, None, &[("b", None)]);
    swarm.after_ms(600_000);
    assert_eq!(
        swarm.operation(again.operation_id).state,
        OperationState::Succeeded
    );
}

#[test]
fn a_host_that_comes_back_or_restarts_gets_its_commands_at_once() {
    let mut swarm = swarm();
    let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
    swarm.started("h", BOOT, accepted.operation_id);
    let (_, effects) = swarm.heartbeat("h", (BOOT, 2), None);
    assert_eq!(commands(&effects), [] as [u32; 0]);
    let (_, effects) = swarm.heartbeat("h", (BOOT + 1, 1), Some(&["a", "b"]));
    assert_eq!(commands(&effects), [2], "restarted");
    swarm.after_ms(30_001);
    let (_, effects) = swarm.heartbeat("h", (BOOT + 1, 2), None);
    assert_eq!(commands(&effects), [3], "back");
    swarm.crash();
    let (answer, effects) = swarm.heartbeat("h", (BOOT + 1, 3), None);
    assert_eq!(commands(&effects), [4], "met anew");
    assert!(answer.send_inventory);
}

#[test]
fn a_crash_at_any_moment_loses_nothing() {
    let mut swarm = swarm();
    let epoch = swarm.state.epoch();
    let (accepted, _) = swarm.teardown("h", Some("a")).expect("accepted");
    let before = (swarm.states("h"), swarm.operation(accepted.operation_id));
    swarm.crash();
    assert!(swarm.state.epoch() > epoch);
    assert_eq!(
        (swarm.states("h"), swarm.operation(accepted.operation_id)),
        before
    );
    let sent = commands(&swarm.after_ms(2_000));
    assert_eq!(sent, [2], "the stored operation is the outbox");
}

#[test]
fn a_heartbeat_that_changes_nothing_writes_nothing() {
    let mut swarm = swarm();
    let written = swarm.journal.len();
    for sequence in 2..10 {
        swarm.heartbeat(
            "h",
            (BOOT, sequence),
            (sequence % 2 == 0).then_some(&["a", "b"]),
        );
    }
    assert_eq!(swarm.journal.len(), written);
}

#[test]
fn a_host_is_offline_after_three_silent_intervals() {
    let mut swarm = swarm();
    let offline = |effects: &[Effect]| {
        effects.iter().any(|effect| match effect {
            Effect::HostsUpdated(message) => !message.updated.is_empty(),
            _ => false,
        })
    };
    assert!(!offline(&swarm.after_ms(29_999)));
    swarm.heartbeat("h", (BOOT, 2), None);
    assert!(!offline(&swarm.after_ms(29_999)));
    assert!(offline(&swarm.after_ms(1)));
    assert!(!offline(&swarm.after_ms(100_000)), "once");
}

#[test]
fn what_an_inventory_no_longer_lists_is_degraded() {
    let mut swarm = swarm();
    swarm.heartbeat("h", (BOOT, 2), Some(&["a"]));
    assert_eq!(swarm.states("h"), "a:Running b:Degraded");
    swarm.heartbeat("h", (BOOT, 3), Some(&["a", "b"]));
    assert_eq!(swarm.states("h"), "a:Running b:Running");
    assert_eq!(swarm.shards("h")[1].last_error, None);
}

#[test]
fn a_silent_subject_repeats_its_revision() {
    let mut swarm = swarm();
    let written = swarm.journal.len();
    let effects = swarm.after_ms(5_000);
    let repeats = effects.iter().filter(|effect| match effect {
        Effect::ShardsUpdated(message, _) => message.updated.is_empty() && message.revision == 1,
        Effect::HostsUpdated(message) => message.updated.is_empty() && message.revision == 2,
        Effect::OperationsUpdated(message, _) => {
            message.updated.is_empty() && message.revision == 0
        }
        Effect::Command { .. } | Effect::Relayed { .. } => false,
    });
    assert_eq!(repeats.count(), 3, "{effects:?}");
    assert_eq!(swarm.journal.len(), written, "a repeat writes nothing");
}

#[test]
fn a_large_change_is_told_in_several_messages_of_the_right_size() {
    let mut swarm = Scenario::new();
    swarm.enroll("worker-h", Some("h")).expect("new");
    let names: Vec<String> = (0..4096).map(|n| format!("decky-{n:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (_, effects) = swarm.heartbeat("h", (BOOT, 1), Some(&names));
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
fn one_message_tells_what_a_batch_puts_and_a_shard_is_in_it_once() {
    let mut swarm = swarm();
    let [both] = &swarm.teardowns(&[("h", Some("a")), ("h", Some("b"))])[..] else {
        panic!("one message tells both");
    };
    assert_eq!(both.operation_id, None, "it tells of two operations");
    assert_eq!(both.updated.len(), 2);
    let mut swarm = self::swarm();
    let [first, second] = &swarm.teardowns(&[("h", Some("a")), ("h", None)])[..] else {
        panic!("decky a changes twice, so two messages tell it");
    };
    assert_eq!(first.operation_id, first.updated[0].operation_id);
    assert_eq!(second.updated.len(), 2);
    assert_eq!(second.revision, first.revision + 1);
}

#[test]
fn an_inventory_from_before_the_acceptance_proves_nothing_whatever_the_clock_says() {
    let mut swarm = swarm();
    swarm.heartbeat("h", (BOOT, 2), Some(&["b"]));
    assert_eq!(swarm.states("h"), "a:Degraded b:Running");
    swarm.now = swarm.now.plus_millis(-3_600_000);
    let (one, _) = swarm.teardown("h", Some("a")).expect("accepted");
    swarm.after_ms(600_000);
    assert_eq!(swarm.states("h"), "a:TeardownFailed b:Running");
    assert_eq!(
        swarm.operation(one.operation_id).state,
        OperationState::TimedOut
    );
}

#[test]
fn a_decky_that_was_deployed_during_the_teardown_and_could_not_be_removed_is_seen() {
    let mut swarm = swarm();
    let (whole, _) = swarm.teardown("h", None).expect("accepted");
    let shards = [("a", None), ("b", None), ("new", Some("busy"))];
    swarm.result("h", (BOOT, 2), whole.operation_id, None, &shards);
    assert_eq!(swarm.states("h"), "new:TeardownFailed");
    swarm.heartbeat("h", (BOOT, 3), Some(&["new"]));
    assert_eq!(swarm.states("h"), "new:TeardownFailed");
    assert!(swarm.teardown("h", Some("new")).is_ok());
}

#[test]
fn a_result_is_forgotten_behind_a_commit_alone() {
    let mut swarm = swarm();
    let written = swarm.journal.len();
    let unknown = OperationId(uuid::Uuid::from_u128(1 << 100));
    swarm.result("h", (BOOT, 2), unknown, None, &[("a", None)]);
    assert_eq!(swarm.states("h"), "a:Running b:Running");
    assert!(swarm.journal.len() > written);
}

#[test]
fn a_failure_does_not_outlast_a_decky_that_its_agent_had_stopped_listing_before() {
    let mut swarm = swarm();
    swarm.heartbeat("h", (BOOT, 2), Some(&["a"]));
    assert_eq!(swarm.states("h"), "a:Running b:Degraded");
    swarm.teardown("h", None).expect("accepted");
    swarm.after_ms(700_000);
    assert_eq!(swarm.states("h"), "a:TeardownFailed b:TeardownFailed");
    // Nothing has changed for the agent: it lists nothing of itself.
    let (answer, _) = swarm.heartbeat("h", (BOOT, 3), None);
    assert!(answer.send_inventory);
    let (answer, _) = swarm.heartbeat("h", (BOOT, 4), Some(&["a"]));
    assert!(!answer.send_inventory);
    assert_eq!(swarm.states("h"), "a:TeardownFailed");
}
