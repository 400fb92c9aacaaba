//! How results are told and kept.

use super::*;

#[test]
fn a_result_is_told_again_with_growing_waits_until_it_is_recorded() {
    let mut bench = Bench::connected();
    bench.command(1, None);
    bench.finish(1, TeardownReport::default());
    let mut waits = Vec::new();
    for _ in 0..10 {
        let at = bench.now.monotonic_ms;
        bench.give(Input::ResultAnswered {
            operation_id: id(1),
            answer: Err(Unanswered::NoResponders),
        });
        bench.until(result);
        waits.push(bench.now.monotonic_ms - at);
    }
    assert_eq!(waits[0], 500);
    assert!(
        waits[9] >= 15_000 && waits.iter().all(|wait| *wait <= 30_000),
        "{waits:?}"
    );
    // No answer at all.
    bench.effects.clear();
    bench.until(result);
    bench.record(1);
    assert!(matches!(bench.ledger.last(), Some(Entry::Recorded { .. })));
    assert_eq!(bench.machine.open_results(), 0);
}

#[test]
fn only_a_few_results_wait_for_an_answer_at_once() {
    let mut bench = Bench::new();
    for operation in 0..10 {
        bench.command(operation, None);
        bench.finish(operation, TeardownReport::default());
    }
    let in_flight = |effects: &[Effect]| effects.iter().filter_map(result).count();
    assert_eq!(in_flight(bench.give(Input::Connected)), 4);
    bench.record(0);
    assert_eq!(in_flight(&bench.effects), 1);
}

#[test]
fn what_ended_is_kept_until_no_copy_can_come_and_the_ledger_can_be_rewritten() {
    let mut bench = Bench::connected();
    bench.command(1, None);
    bench.finish(1, TeardownReport::default());
    bench.record(1);
    bench.command(2, None);
    bench.finish(2, TeardownReport::default());
    let kept = |bench: &Bench| bench.machine.ledger_entries().len();
    let boot_and_epoch = 2;
    assert_eq!(kept(&bench), boot_and_epoch + 3);
    bench.ledger = bench.machine.ledger_entries();
    bench.crash();
    assert_eq!(
        (kept(&bench), bench.machine.open_results()),
        (boot_and_epoch + 3, 1)
    );
    bench.pass(600_000 + 120_000);
    assert_eq!(kept(&bench), boot_and_epoch + 3);
    bench.pass(60_001);
    assert_eq!(
        kept(&bench),
        boot_and_epoch + 1,
        "the one that is not recorded stays"
    );
}

#[test]
fn a_result_always_fits_into_a_message() {
    let mut bench = Bench::connected();
    bench.command(1, None);
    let long = "\u{1}".repeat(512);
    let shards = (0..4096)
        .map(|number| {
            outcome(
                &format!("{number:064}"),
                ReportedOutcome::Failed,
                Some(&long),
            )
        })
        .collect();
    bench.finish(
        1,
        TeardownReport {
            error: None,
            shards,
        },
    );
    let told = bench.until(result);
    assert_eq!(
        (told.outcome, told.shards.len()),
        (ResultOutcome::Failed, 4096)
    );
    assert!(serde_json::to_vec(&told).expect("written").len() <= 512 * 1024);
}
