//! What becomes of commands, and what a restart makes of those that were begun.

use super::*;

#[test]
fn a_command_is_written_down_before_the_runtime_is_touched_and_its_result_before_it_is_told() {
    let mut bench = Bench::connected();
    let step = bench.machine.handle(
        bench.now,
        command(1, Some("d"), 5, Timestamp::from_millis(START + 1000)),
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
    assert_eq!(started(&step.effects), [id(1)]);
    assert_eq!(progress(&step.effects), [ProgressStep::Started]);

    let report = TeardownReport {
        error: None,
        shards: vec![outcome("d", ReportedOutcome::Removed, None)],
    };
    let step = bench.machine.handle(
        bench.now,
        Input::Finished {
            operation_id: id(1),
            report,
        },
    );
    let Some(Entry::Finished(finished)) = step.writes.first() else {
        panic!("{:?}", step.writes);
    };
    let told = step.effects.iter().find_map(result).expect("told");
    assert_eq!(
        (told.outcome, &told),
        (ResultOutcome::Succeeded, &finished.result)
    );
}

#[test]
fn commands_run_one_after_another_and_a_repeat_starts_nothing() {
    let mut bench = Bench::connected();
    assert_eq!(started(bench.command(1, Some("a"))), [id(1)]);
    assert!(started(bench.command(2, None)).is_empty());
    assert_eq!(
        progress(bench.command(1, Some("a"))),
        [ProgressStep::Started]
    );
    let queued = bench.command(2, None);
    assert!(started(queued).is_empty() && progress(queued).is_empty());
    assert_eq!(started(bench.finish(1, TeardownReport::default())), [id(2)]);
    bench.record(1);
    let repeated = bench.command(1, Some("a"));
    assert!(started(repeated).is_empty());
    assert_eq!(
        repeated
            .iter()
            .find_map(result)
            .expect("told again")
            .operation_id,
        id(1)
    );
}

#[test]
fn what_a_command_must_be_to_be_executed() {
    let mut bench = Bench::connected();
    bench.command(1, None);
    let soon = Timestamp::from_millis(START + 1000);
    bench.give(command(2, None, 0, soon));
    assert_eq!(
        notes(&bench.effects),
        [Note::Ignored(Ignored::OldEpoch {
            operation_id: id(2),
            epoch: 0,
            highest: 1
        })]
    );
    let Input::Command {
        command: AgentCommand::Teardown(mut other),
        ..
    } = command(3, None, 9, soon)
    else {
        unreachable!()
    };
    other.host_uuid = "worker-b".parse().expect("valid");
    bench.give(Input::Command {
        command: AgentCommand::Teardown(other),
        traceparent: None,
    });
    assert_eq!(
        notes(&bench.effects),
        [Note::Ignored(Ignored::OtherHost(id(3)))]
    );
    let cancel = CancelCommand {
        operation_id: id(1),
        host_uuid: "worker-a".parse().expect("valid"),
        controller_epoch: 1,
    };
    bench.give(Input::Command {
        command: AgentCommand::Cancel(cancel),
        traceparent: None,
    });
    assert_eq!(
        notes(&bench.effects),
        [Note::Command, Note::Ignored(Ignored::TooLate(id(1)))]
    );
    for operation in 10..10 + MAX_QUEUED as u128 {
        bench.command(operation, None);
    }
    bench.command(9, None);
    assert_eq!(
        notes(&bench.effects),
        [Note::Command, Note::Ignored(Ignored::QueueFull(id(9)))]
    );
    // The epoch outlives the boot.
    bench.give(command(4, None, 7, soon));
    bench.crash();
    bench.give(command(5, None, 6, soon));
    assert_eq!(
        notes(&bench.effects),
        [Note::Ignored(Ignored::OldEpoch {
            operation_id: id(5),
            epoch: 6,
            highest: 7
        })]
    );
}

#[test]
fn a_command_more_than_60_s_late_is_answered_but_not_executed() {
    for (late, executed) in [(60_000, true), (60_001, false)] {
        let mut bench = Bench::connected();
        let effects = bench.give(command(1, None, 1, Timestamp::from_millis(START - late)));
        assert_eq!(!started(effects).is_empty(), executed, "{late} ms late");
        if !executed {
            let told = effects.iter().find_map(result).expect("told");
            assert_eq!(told.error.expect("failed").as_str(), "command expired");
        }
    }
    // Nor is one whose turn comes too late, nor one that a restarted agent would go on with.
    let mut bench = Bench::connected();
    bench.command(1, None);
    bench.command(2, None);
    bench.pass(660_001);
    bench.crash();
    assert!(started(&bench.effects).is_empty());
    assert_eq!(bench.machine.open_results(), 1);
    let mut bench = Bench::connected();
    bench.command(1, None);
    bench.command(2, None);
    bench.pass(660_001);
    assert!(started(bench.finish(1, TeardownReport::default())).is_empty());
    assert_eq!(bench.machine.open_results(), 2);
}

#[test]
fn after_a_crash_a_begun_teardown_goes_on_and_an_untold_result_keeps_its_number() {
    let mut bench = Bench::connected();
    bench.command(1, Some("a"));
    assert_eq!(started(bench.crash()), [id(1)]);
    bench.give(Input::Connected);
    assert_eq!(progress(&bench.effects), [ProgressStep::Started]);
    bench.finish(1, TeardownReport::default());
    let first = bench.until(result);
    assert_eq!(bench.machine.boot_id(), first.boot_id);
    for _ in 0..3 {
        assert!(started(bench.crash()).is_empty());
        bench.give(Input::Connected);
        assert_eq!(bench.until(result), first);
    }
    bench.record(1);
    bench.crash();
    assert_eq!(bench.machine.open_results(), 0);
}

#[test]
fn a_boot_sorts_after_the_last_one_even_when_the_clock_has_jumped_back() {
    let mut bench = Bench::new();
    let first = bench.machine.boot_id();
    bench.boots = 0;
    bench.crash();
    assert!(bench.machine.boot_id() > first);
}

fn withdraw(operation: u128) -> Input {
    let cancel = CancelCommand {
        operation_id: id(operation),
        host_uuid: "worker-a".parse().expect("valid"),
        controller_epoch: 1,
    };
    Input::Command {
        command: AgentCommand::Cancel(cancel),
        traceparent: None,
    }
}

#[test]
fn a_withdrawn_command_is_not_begun_not_even_by_a_late_copy_after_a_restart() {
    let mut bench = Bench::connected();
    bench.command(1, Some("a"));
    bench.command(2, Some("b"));
    bench.give(withdraw(2));
    assert_eq!(
        notes(&bench.effects),
        [Note::Command, Note::Withdrawn(id(2))]
    );
    let written = bench.ledger.len();
    bench.give(withdraw(2));
    assert_eq!(bench.ledger.len(), written, "a repeat writes nothing");
    for crashed in [false, true] {
        if crashed {
            bench.crash();
        }
        bench.command(2, Some("b"));
        let late = Note::Ignored(Ignored::Withdrawn(id(2)));
        assert_eq!(
            notes(&bench.effects),
            [Note::Command, late],
            "crashed: {crashed}"
        );
        assert_eq!(
            bench
                .machine
                .ledger_entries()
                .iter()
                .filter(|entry| matches!(entry, Entry::Withdrawn { .. }))
                .count(),
            1
        );
    }
    // A withdrawal that overtakes its command.
    bench.give(withdraw(3));
    bench.command(3, Some("c"));
    assert_eq!(
        notes(&bench.effects),
        [Note::Command, Note::Ignored(Ignored::Withdrawn(id(3)))]
    );
}
