//! Tests of commands, and of teardowns across restarts.

use super::*;

#[test]
fn a_command_is_durable_before_the_runtime_is_called_and_its_result_before_it_is_sent() {
    let mut agent = TestAgent::connected();
    let step = agent.machine.handle(
        agent.now,
        teardown_command(1, Some("d"), 5, Timestamp::from_millis(START + 1000)),
    );
    assert!(matches!(
        &step.writes[..],
        [
            Entry::Epoch {
                controller_epoch: 5
            },
            Entry::Started(_)
        ]
    ));
    assert_eq!(started_operations(&step.effects), [operation_id(1)]);
    assert_eq!(progress_steps(&step.effects), [ProgressStep::Started]);

    let report = TeardownReport {
        error: None,
        shards: vec![shard_result("d", ReportedOutcome::Removed, None)],
    };
    let step = agent.machine.handle(
        agent.now,
        Input::Finished {
            operation_id: operation_id(1),
            report,
        },
    );
    let Some(Entry::Finished(finished)) = step.writes.first() else {
        panic!("{:?}", step.writes);
    };
    let sent = step.effects.iter().find_map(as_result).expect("sent");
    assert_eq!(
        (sent.outcome, &sent),
        (ResultOutcome::Succeeded, &finished.result)
    );
}

#[test]
fn a_whole_host_command_waits_and_a_repeated_command_starts_nothing() {
    let mut agent = TestAgent::connected();
    assert_eq!(
        started_operations(agent.send_command(1, Some("a"))),
        [operation_id(1)]
    );
    for _ in 0..2 {
        let queued = agent.send_command(2, None);
        assert!(started_operations(queued).is_empty());
        let received = (operation_id(2), ProgressStep::Received);
        assert_eq!(published_progress(queued), [received]);
    }
    assert_eq!(
        progress_steps(agent.send_command(1, Some("a"))),
        [ProgressStep::Started]
    );
    assert_eq!(
        started_operations(agent.finish_teardown(1, TeardownReport::default())),
        [operation_id(2)]
    );
    agent.confirm_result(1);
    let repeated = agent.send_command(1, Some("a"));
    assert!(started_operations(repeated).is_empty());
    assert_eq!(
        repeated
            .iter()
            .find_map(as_result)
            .expect("resent")
            .operation_id,
        operation_id(1)
    );
}

#[test]
fn a_cancel_command_is_acknowledged_unless_the_teardown_has_started() {
    let mut agent = TestAgent::connected();
    agent.send_command(1, None);
    agent.send_command(2, None);
    for _ in 0..2 {
        let effects = agent.handle(cancel_command(2));
        let acknowledged = effects.iter().any(|effect| match effect {
            Effect::PublishProgress { message, .. } => {
                message.cancelled
                    && message.step == ProgressStep::Received
                    && message.operation_id == operation_id(2)
            }
            _ => false,
        });
        assert!(acknowledged, "{effects:?}");
    }
    let effects = agent.handle(cancel_command(1));
    assert_eq!(progress_steps(effects), [ProgressStep::Started]);
}

#[test]
fn invalid_late_and_excess_commands_are_ignored() {
    let mut agent = TestAgent::connected();
    agent.send_command(1, None);
    let soon = Timestamp::from_millis(START + 1000);
    agent.handle(teardown_command(2, None, 0, soon));
    assert_eq!(
        emitted_events(&agent.effects),
        [AgentEvent::CommandIgnored(IgnoreReason::OldEpoch {
            operation_id: operation_id(2),
            epoch: 0,
            highest: 1
        })]
    );
    let Input::Command {
        command: AgentCommand::Teardown(mut other),
        ..
    } = teardown_command(3, None, 9, soon)
    else {
        unreachable!()
    };
    other.host_uuid = "worker-b".parse().expect("valid");
    agent.handle(Input::Command {
        command: AgentCommand::Teardown(other),
        traceparent: None,
    });
    assert_eq!(
        emitted_events(&agent.effects),
        [AgentEvent::CommandIgnored(IgnoreReason::OtherHost(
            operation_id(3)
        ))]
    );
    agent.handle(cancel_command(1));
    assert_eq!(
        emitted_events(&agent.effects),
        [
            AgentEvent::CommandReceived,
            AgentEvent::CommandIgnored(IgnoreReason::CancelTooLate(operation_id(1)))
        ]
    );
    for operation in 10..10 + MAX_QUEUED as u128 {
        agent.send_command(operation, None);
    }
    agent.send_command(9, None);
    assert_eq!(
        emitted_events(&agent.effects),
        [
            AgentEvent::CommandReceived,
            AgentEvent::CommandIgnored(IgnoreReason::QueueFull(operation_id(9)))
        ]
    );
    // The highest epoch is kept across a restart.
    agent.handle(teardown_command(4, None, 7, soon));
    agent.crash();
    agent.handle(teardown_command(5, None, 6, soon));
    assert_eq!(
        emitted_events(&agent.effects),
        [AgentEvent::CommandIgnored(IgnoreReason::OldEpoch {
            operation_id: operation_id(5),
            epoch: 6,
            highest: 7
        })]
    );
}

#[test]
fn a_command_more_than_60_s_late_gets_a_result_but_is_not_executed() {
    for (late, executed) in [(60_000, true), (60_001, false)] {
        let mut agent = TestAgent::connected();
        let effects = agent.handle(teardown_command(
            1,
            None,
            1,
            Timestamp::from_millis(START - late),
        ));
        assert_eq!(
            !started_operations(effects).is_empty(),
            executed,
            "{late} ms late"
        );
        if !executed {
            let sent = effects.iter().find_map(as_result).expect("sent");
            assert_eq!(sent.error.expect("failed").as_str(), "command expired");
        }
    }
    // The same holds for a command whose turn comes too late, and for a teardown that a restarted
    // agent would resume.
    let mut agent = TestAgent::connected();
    agent.send_command(1, None);
    agent.send_command(2, None);
    agent.advance(660_001);
    agent.crash();
    assert!(started_operations(&agent.effects).is_empty());
    assert_eq!(agent.machine.open_results(), 1);
    let mut agent = TestAgent::connected();
    agent.send_command(1, None);
    agent.send_command(2, None);
    agent.advance(660_001);
    assert!(started_operations(agent.finish_teardown(1, TeardownReport::default())).is_empty());
    assert_eq!(agent.machine.open_results(), 2);
}

#[test]
fn after_a_crash_a_started_teardown_resumes_and_an_unrecorded_result_keeps_its_sequence_number() {
    let mut agent = TestAgent::connected();
    agent.send_command(1, Some("a"));
    assert_eq!(started_operations(agent.crash()), [operation_id(1)]);
    agent.handle(Input::Connected);
    assert_eq!(progress_steps(&agent.effects), [ProgressStep::Started]);
    agent.finish_teardown(1, TeardownReport::default());
    let first = agent.run_until(as_result);
    assert_eq!(agent.machine.boot_id(), first.boot_id);
    for _ in 0..3 {
        assert!(started_operations(agent.crash()).is_empty());
        agent.handle(Input::Connected);
        assert_eq!(agent.run_until(as_result), first);
    }
    agent.confirm_result(1);
    agent.crash();
    assert_eq!(agent.machine.open_results(), 0);
}

#[test]
fn a_boot_id_sorts_after_the_last_one_even_if_the_clock_has_jumped_back() {
    let mut agent = TestAgent::new();
    let first = agent.machine.boot_id();
    agent.boots = 0;
    agent.crash();
    assert!(agent.machine.boot_id() > first);
}

#[test]
fn teardowns_of_different_deckies_run_at_the_same_time_and_report_separately() {
    let mut agent = TestAgent::connected();
    for (operation, decky) in [(1, "a"), (2, "b")] {
        let started = agent.send_command(operation, Some(decky));
        assert_eq!(started_operations(started), [operation_id(operation)]);
        let own_start = (operation_id(operation), ProgressStep::Started);
        assert_eq!(published_progress(started), [own_start]);
    }
    let removing = Progress {
        operation_id: operation_id(1),
        step: ProgressStep::Removing,
        decky_id: None,
        done: Some(0),
        total: Some(1),
    };
    let removed = published_progress(agent.handle(Input::Progress(removing.clone())));
    assert_eq!(removed, [(operation_id(1), ProgressStep::Removing)]);
    let again = agent.send_command(1, Some("a"));
    let started = |operation| (operation_id(operation), ProgressStep::Started);
    assert_eq!(published_progress(again), [started(1)]);
    agent.handle(Input::Disconnected);
    agent.handle(Input::Connected);
    assert_eq!(published_progress(&agent.effects), [started(1), started(2)]);

    agent.finish_teardown(2, TeardownReport::default());
    let sent = agent.run_until(as_result);
    assert_eq!(sent.operation_id, operation_id(2));
    agent.finish_teardown(1, TeardownReport::default());
    assert!(published_progress(agent.handle(Input::Progress(removing))).is_empty());
}

#[test]
fn commands_start_in_order_when_the_teardown_for_which_they_wait_ends() {
    let mut agent = TestAgent::connected();
    agent.send_command(1, Some("a"));
    assert!(started_operations(agent.send_command(2, None)).is_empty());
    assert!(started_operations(agent.send_command(3, Some("b"))).is_empty());
    assert!(started_operations(agent.send_command(4, Some("c"))).is_empty());
    let started = started_operations(agent.finish_teardown(1, TeardownReport::default()));
    assert_eq!(started, [operation_id(2)]);
    let started = started_operations(agent.finish_teardown(2, TeardownReport::default()));
    assert_eq!(started, [operation_id(3), operation_id(4)]);
}

#[test]
fn a_cancelled_command_no_longer_holds_up_the_commands_after_it() {
    let mut agent = TestAgent::connected();
    agent.send_command(1, Some("a"));
    agent.send_command(2, None);
    agent.send_command(3, Some("b"));
    assert!(started_operations(&agent.effects).is_empty());
    let started = started_operations(agent.handle(cancel_command(2)));
    assert_eq!(started, [operation_id(3)]);
}

#[test]
fn resumed_teardowns_keep_their_order_and_obey_the_same_rules() {
    let mut agent = TestAgent::connected();
    // The ids are not in the order of arrival.
    agent.send_command(2, Some("a"));
    agent.send_command(1, Some("b"));
    agent.concurrency = 1;
    assert_eq!(started_operations(agent.crash()), [operation_id(2)]);
    // The operation was started, so it cannot be cancelled any longer.
    agent.handle(cancel_command(1));
    let too_late = AgentEvent::CommandIgnored(IgnoreReason::CancelTooLate(operation_id(1)));
    assert_eq!(
        emitted_events(&agent.effects),
        [AgentEvent::CommandReceived, too_late]
    );
    assert!(started_operations(agent.send_command(3, Some("b"))).is_empty());
    // A second crash keeps the order, also from a rewritten ledger.
    agent.ledger = agent.machine.ledger_entries();
    assert_eq!(started_operations(agent.crash()), [operation_id(2)]);
    agent.send_command(3, Some("b"));
    agent.concurrency = 4;
    assert_eq!(
        started_operations(agent.crash()),
        [operation_id(2), operation_id(1)]
    );
    assert!(started_operations(agent.send_command(3, Some("b"))).is_empty());
    let started = started_operations(agent.finish_teardown(1, TeardownReport::default()));
    assert_eq!(started, [operation_id(3)]);
}

#[test]
fn a_cancelled_operation_never_starts_not_even_by_a_late_command_after_a_restart() {
    let mut agent = TestAgent::connected();
    agent.send_command(1, Some("a"));
    agent.send_command(2, Some("a"));
    agent.handle(cancel_command(2));
    assert_eq!(
        emitted_events(&agent.effects),
        [
            AgentEvent::CommandReceived,
            AgentEvent::OperationCancelled(operation_id(2))
        ]
    );
    let entries = agent.ledger.len();
    agent.handle(cancel_command(2));
    assert_eq!(agent.ledger.len(), entries, "a repeat writes nothing");
    for crashed in [false, true] {
        if crashed {
            agent.crash();
        }
        agent.send_command(2, Some("a"));
        let late = AgentEvent::CommandIgnored(IgnoreReason::AlreadyCancelled(operation_id(2)));
        assert_eq!(
            emitted_events(&agent.effects),
            [AgentEvent::CommandReceived, late],
            "crashed: {crashed}"
        );
        assert_eq!(
            agent
                .machine
                .ledger_entries()
                .iter()
                .filter(|entry| matches!(entry, Entry::Cancelled { .. }))
                .count(),
            1
        );
    }
    // The cancel command overtakes the teardown command.
    agent.handle(cancel_command(3));
    agent.send_command(3, Some("c"));
    assert_eq!(
        emitted_events(&agent.effects),
        [
            AgentEvent::CommandReceived,
            AgentEvent::CommandIgnored(IgnoreReason::AlreadyCancelled(operation_id(3)))
        ]
    );
}
