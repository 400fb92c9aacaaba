//! When heartbeats go, and what they carry.

use super::*;

#[test]
fn an_inventory_goes_when_it_changed_or_is_asked_for() {
    let (one, two) = (inventory(&["a"]), inventory(&["a", "b"]));
    let mut bench = Bench::connected();
    let first = bench.heartbeat(&one);
    assert_eq!(
        (first.sequence, first.shards.as_ref().map(Vec::len)),
        (1, Some(1))
    );
    bench.answer(&first, false, false);
    let second = bench.heartbeat(&one);
    assert_eq!((second.sequence, &second.shards), (2, &None));
    let at = bench.now.monotonic_ms;
    bench.answer(&second, true, false);
    let asked = bench.heartbeat(&one);
    assert_eq!(
        (
            asked.shards.map(|shards| shards.len()),
            bench.now.monotonic_ms
        ),
        (Some(1), at)
    );
    // Not answered: whether the controller has it is not known, so it goes again.
    let again = bench.heartbeat(&one);
    assert!(again.shards.is_some() && again.sequence > asked.sequence);
    bench.answer(&again, false, false);
    bench.give(Input::InventoryChanged);
    let at = bench.now.monotonic_ms;
    assert_eq!(
        bench.heartbeat(&two).shards.map(|shards| shards.len()),
        Some(2)
    );
    assert_eq!(bench.now.monotonic_ms - at, 250);
}

#[test]
fn an_inventory_read_while_a_result_was_numbered_is_read_again() {
    let mut bench = Bench::connected();
    bench.command(1, None);
    bench.until(|effect| matches!(effect, Effect::ReadInventory).then_some(()));
    bench.finish(1, TeardownReport::default());
    let told = bench.until(result);
    let effects = bench.give(Input::InventoryRead(Ok(inventory(&["a"]))));
    assert!(matches!(effects, [Effect::ReadInventory]), "{effects:?}");
    bench.give(Input::InventoryRead(Ok(inventory(&[]))));
    let after = bench.until(heartbeat);
    assert_eq!(after.sequence, told.sequence + 1);
    assert_eq!(after.shards.map(|shards| shards.len()), Some(0));
}

#[test]
fn after_a_result_the_whole_inventory_goes_even_if_one_on_its_way_is_accepted() {
    let one = inventory(&["a"]);
    let mut bench = Bench::connected();
    bench.command(1, None);
    let before = bench.heartbeat(&one);
    bench.finish(1, TeardownReport::default());
    bench.answer(&before, false, false);
    let at = bench.now.monotonic_ms;
    assert!(bench.heartbeat(&one).shards.is_some());
    assert_eq!(
        bench.now.monotonic_ms - at,
        250,
        "it does not wait for the interval"
    );
}

#[test]
fn stale_for_the_own_boot_is_told_once_unless_a_result_has_overtaken_the_heartbeat() {
    let one = inventory(&["a"]);
    let mut bench = Bench::connected();
    bench.command(1, None);
    let overtaken = bench.heartbeat(&one);
    bench.finish(1, TeardownReport::default());
    bench.answer(&overtaken, false, true);
    assert!(!notes(&bench.effects).contains(&Note::Stale));
    for told in [true, false] {
        let stale = bench.heartbeat(&one);
        bench.answer(&stale, false, true);
        assert_eq!(notes(&bench.effects).contains(&Note::Stale), told);
    }
}

#[test]
fn a_refused_host_tries_on_with_growing_waits_and_says_so_once() {
    let one = inventory(&["a"]);
    let mut bench = Bench::connected();
    let mut told = 0;
    let mut longest = 0;
    for round in 0..8 {
        let at = bench.now.monotonic_ms;
        let sent = bench.heartbeat(&one);
        longest = longest.max(bench.now.monotonic_ms - at);
        let code = if round < 7 {
            ErrorCode::HostNotFound
        } else {
            ErrorCode::HostDecommissioned
        };
        let answer = Err(Unanswered::Refused(ErrorReply::new(code, "no")));
        bench.give(Input::HeartbeatAnswered {
            sequence: sent.sequence,
            page: 1,
            answer,
        });
        let said = |note: &Note| matches!(note, Note::HostRefused { .. });
        told += notes(&bench.effects)
            .iter()
            .filter(|note| said(note))
            .count();
    }
    assert_eq!(told, 2);
    assert!((15_000..=30_000).contains(&longest), "{longest}");
}

#[test]
fn a_runtime_that_cannot_be_read_does_not_silence_the_heartbeat() {
    let one = inventory(&["a"]);
    let mut bench = Bench::connected();
    bench.until(|effect| matches!(effect, Effect::ReadInventory).then_some(()));
    bench.give(Input::InventoryRead(Err(RuntimeError(
        "no socket".to_owned(),
    ))));
    let without = bench.until(heartbeat);
    assert_eq!(without.shards, None);
    assert_eq!(without.inventory_error, Some(Text::from("no socket")));
    let at = bench.now.monotonic_ms;
    bench.answer(&without, true, false);
    let with = bench.heartbeat(&one);
    assert_eq!(with.shards.map(|shards| shards.len()), Some(1));
    assert_eq!(with.inventory_error, None);
    assert!(
        bench.now.monotonic_ms - at >= INTERVAL * 9 / 10,
        "no hot loop"
    );
    // It hangs: the read is given up, and what comes of it at last is not used.
    let mut bench = Bench::connected();
    bench.until(|effect| matches!(effect, Effect::ReadInventory).then_some(()));
    for _ in 0..3 {
        let without = bench.until(heartbeat);
        assert_eq!(without.shards, None);
        assert!(without.inventory_error.is_some());
        bench.answer(&without, false, false);
    }
    bench.give(Input::InventoryRead(Ok(one.clone())));
    assert_eq!(
        bench.heartbeat(&one).shards.map(|shards| shards.len()),
        Some(1)
    );
}

#[test]
fn a_large_inventory_goes_in_pages_and_counts_when_all_are_accepted() {
    let services = Services::try_from(vec!["s".repeat(64); 32]).expect("valid");
    let many: Inventory = (0..1000)
        .map(|number| ReportedShard {
            services: services.clone(),
            ..inventory(&[&format!("decky-{number}")])[0].clone()
        })
        .collect();
    let mut bench = Bench::connected();
    bench.heartbeat(&many);
    let sent: Vec<Heartbeat> = bench.effects.iter().filter_map(heartbeat).collect();
    assert!(sent.len() > 1);
    let mut deckies = 0;
    for (page, heartbeat) in (1..).zip(&sent) {
        assert_eq!(
            (heartbeat.page, heartbeat.pages as usize),
            (page, sent.len())
        );
        assert_eq!(heartbeat.sequence, sent[0].sequence);
        assert!(serde_json::to_vec(heartbeat).expect("written").len() <= MAX_HEARTBEAT_BYTES);
        deckies += heartbeat.shards.as_ref().map_or(0, Vec::len);
        let accepted = Note::HeartbeatAccepted { inventory: true };
        assert_eq!(
            notes(bench.answer(heartbeat, false, false)).contains(&accepted),
            page as usize == sent.len()
        );
    }
    assert_eq!(deckies, many.len());
    assert_eq!(bench.heartbeat(&Arc::from(&many[..])).shards, None);
}

#[test]
fn a_silent_controller_is_told_once_and_results_go_at_once_when_it_is_back() {
    let one = inventory(&["a"]);
    let mut bench = Bench::connected();
    bench.command(1, None);
    bench.finish(1, TeardownReport::default());
    let mut told = Vec::new();
    for _ in 0..6 {
        let sent = bench.heartbeat(&one);
        bench.give(Input::ResultAnswered {
            operation_id: id(1),
            answer: Err(Unanswered::NoResponders),
        });
        let answer = Err(Unanswered::NoResponders);
        bench.give(Input::HeartbeatAnswered {
            sequence: sent.sequence,
            page: 1,
            answer,
        });
        told.extend(notes(&bench.effects));
    }
    assert_eq!(told, [Note::ControllerSilent]);
    let sent = bench.heartbeat(&one);
    let back = bench.answer(&sent, false, false);
    assert!(
        notes(back).contains(&Note::ControllerBack)
            && back.iter().any(|effect| result(effect).is_some())
    );
}
