//! Tests of the delivery and retention of results.

use scuttle_schemas::agents::Evidence;

use super::*;

#[test]
fn a_result_is_resent_with_growing_delays_until_it_is_recorded() {
    let mut agent = TestAgent::connected();
    agent.send_command(1, None);
    agent.finish_teardown(1, TeardownReport::default());
    let mut delays = Vec::new();
    for _ in 0..10 {
        let at = agent.now.monotonic_ms;
        agent.handle(Input::ResultReply {
            operation_id: operation_id(1),
            reply: Err(RequestFailure::NoResponders),
        });
        agent.run_until(as_result);
        delays.push(agent.now.monotonic_ms - at);
    }
    assert_eq!(delays[0], 500);
    assert!(
        delays[9] >= 15_000 && delays.iter().all(|delay| *delay <= 30_000),
        "{delays:?}"
    );
    // There is no reply at all.
    agent.effects.clear();
    agent.run_until(as_result);
    agent.confirm_result(1);
    assert!(matches!(agent.ledger.last(), Some(Entry::Recorded { .. })));
    assert_eq!(agent.machine.open_results(), 0);
}

#[test]
fn only_a_few_results_are_in_flight_at_the_same_time() {
    let mut agent = TestAgent::new();
    for operation in 0..10 {
        agent.send_command(operation, None);
        agent.finish_teardown(operation, TeardownReport::default());
    }
    let in_flight = |effects: &[Effect]| effects.iter().filter_map(as_result).count();
    assert_eq!(in_flight(agent.handle(Input::Connected)), 4);
    agent.confirm_result(0);
    assert_eq!(in_flight(&agent.effects), 1);
}

#[test]
fn a_finished_operation_is_kept_until_no_late_command_can_arrive() {
    let mut agent = TestAgent::connected();
    agent.send_command(1, None);
    agent.finish_teardown(1, TeardownReport::default());
    agent.confirm_result(1);
    agent.send_command(2, None);
    agent.finish_teardown(2, TeardownReport::default());
    let entries = |agent: &TestAgent| agent.machine.ledger_entries().len();
    let boot_and_epoch = 2;
    assert_eq!(entries(&agent), boot_and_epoch + 3);
    agent.ledger = agent.machine.ledger_entries();
    agent.crash();
    assert_eq!(
        (entries(&agent), agent.machine.open_results()),
        (boot_and_epoch + 3, 1)
    );
    agent.advance(600_000 + 120_000);
    assert_eq!(entries(&agent), boot_and_epoch + 3);
    agent.advance(60_001);
    assert_eq!(
        entries(&agent),
        boot_and_epoch + 1,
        "an operation that is not recorded is kept"
    );
}

/// Finishes a teardown with the most deckies that a host may have. Checks that the result has all
/// of them and fits into a message, and returns the result.
fn send_full_result(shard: impl Fn(&str) -> ShardResult) -> TeardownResult {
    let mut agent = TestAgent::connected();
    agent.send_command(1, None);
    let shards = (0..4096).map(|number| shard(&format!("{number:064}")));
    agent.finish_teardown(
        1,
        TeardownReport {
            error: None,
            shards: shards.collect(),
        },
    );
    let sent = agent.run_until(as_result);
    assert_eq!(sent.shards.len(), 4096);
    assert!(serde_json::to_vec(&sent).expect("written").len() <= 512 * 1024);
    sent
}

#[test]
fn a_result_always_fits_into_a_message() {
    let long = "\u{1}".repeat(512);
    let sent = send_full_result(|decky| shard_result(decky, ReportedOutcome::Failed, Some(&long)));
    assert_eq!(sent.outcome, ResultOutcome::Failed);
}

#[test]
fn a_result_with_much_evidence_keeps_the_evidence_that_fits() {
    let evidence = Evidence {
        path: "/evidence/".repeat(20),
        bytes: u64::MAX,
        sha256: "0f".repeat(32),
    };
    let sent = send_full_result(|decky| ShardResult {
        evidence: Some(evidence.clone()),
        ..shard_result(decky, ReportedOutcome::Removed, None)
    });
    assert_eq!(sent.outcome, ResultOutcome::Succeeded);
    let kept = sent.shards.iter().filter(|shard| shard.evidence.is_some());
    assert!(kept.count() > 0 && sent.shards[0].evidence == Some(evidence));
}

/// The controller rejects results without this form, and a rejection is final.
#[test]
fn a_result_lists_each_decky_once_and_mentions_the_decky_of_its_operation() {
    let failed = || shard_result("b", ReportedOutcome::Failed, Some("container busy"));
    for (decky, shards, expected) in [
        (
            None,
            vec![
                shard_result("b", ReportedOutcome::Removed, None),
                failed(),
                shard_result("a", ReportedOutcome::Absent, None),
            ],
            vec![shard_result("a", ReportedOutcome::Absent, None), failed()],
        ),
        (
            Some("a"),
            vec![shard_result("b", ReportedOutcome::Removed, None)],
            vec![
                shard_result("b", ReportedOutcome::Removed, None),
                shard_result(
                    "a",
                    ReportedOutcome::Failed,
                    Some("the runtime reported no outcome"),
                ),
            ],
        ),
    ] {
        let mut agent = TestAgent::connected();
        agent.send_command(1, decky);
        let error = None;
        agent.finish_teardown(1, TeardownReport { error, shards });
        agent.crash();
        agent.handle(Input::Connected);
        let result = agent.run_until(as_result);
        assert_eq!(result.shards, expected);
        assert_eq!(result.outcome, ResultOutcome::Failed);
    }
}
