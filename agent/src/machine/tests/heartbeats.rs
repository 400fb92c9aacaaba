//! Tests of the schedule and the content of heartbeats.

use scuttle_schemas::Note;
use scuttle_schemas::agents::OtherAgent;

use super::*;

#[test]
fn a_heartbeat_contains_the_inventory_if_it_changed_or_is_requested() {
    let (one, two) = (build_inventory(&["a"]), build_inventory(&["a", "b"]));
    let mut agent = TestAgent::connected();
    let first = agent.next_heartbeat(&one);
    assert_eq!(
        (first.sequence, first.shards.as_ref().map(Vec::len)),
        (1, Some(1))
    );
    agent.accept_heartbeat(&first, false, false);
    let second = agent.next_heartbeat(&one);
    assert_eq!((second.sequence, &second.shards), (2, &None));
    let at = agent.now.monotonic_ms;
    agent.accept_heartbeat(&second, true, false);
    let asked = agent.next_heartbeat(&one);
    assert_eq!(
        (
            asked.shards.map(|shards| shards.len()),
            agent.now.monotonic_ms
        ),
        (Some(1), at)
    );
    // Without a reply, it is unknown whether the controller has the inventory, so it is sent again.
    let again = agent.next_heartbeat(&one);
    assert_eq!(again.sent_at, Some(agent.now.wall));
    assert!(again.shards.is_some() && again.sequence > asked.sequence);
    agent.accept_heartbeat(&again, false, false);
    agent.handle(Input::InventoryChanged);
    let at = agent.now.monotonic_ms;
    assert_eq!(
        agent.next_heartbeat(&two).shards.map(|shards| shards.len()),
        Some(2)
    );
    assert_eq!(agent.now.monotonic_ms - at, 250);
}

#[test]
fn an_inventory_is_read_again_if_a_result_got_its_sequence_number_during_the_read() {
    let mut agent = TestAgent::connected();
    agent.send_command(1, None);
    agent.run_until(|effect| matches!(effect, Effect::ReadInventory).then_some(()));
    agent.finish_teardown(1, TeardownReport::default());
    let sent = agent.run_until(as_result);
    let effects = agent.handle(Input::InventoryRead(Ok(build_inventory(&["a"]))));
    assert!(matches!(effects, [Effect::ReadInventory]), "{effects:?}");
    agent.handle(Input::InventoryRead(Ok(build_inventory(&[]))));
    let after = agent.run_until(as_heartbeat);
    assert_eq!(after.sequence, sent.sequence + 1);
    assert_eq!(after.shards.map(|shards| shards.len()), Some(0));
}

#[test]
fn heartbeats_are_sent_even_if_a_teardown_ends_during_every_read_of_the_inventory() {
    const READ_MS: u64 = 50;
    let mut agent = TestAgent::connected();
    let mut since_last = 0;
    let mut sent = 0;
    for operation in 1..1000 {
        let decky = format!("decky-{operation}");
        agent.send_command(operation, Some(&decky));
        agent.finish_teardown(operation, TeardownReport::default());
        let read = agent.handle(Input::InventoryRead(Ok(build_inventory(&["a"]))));
        let mut heartbeat = read.iter().find_map(as_heartbeat);
        agent.confirm_result(operation);
        heartbeat = heartbeat.or(agent.advance(READ_MS).iter().find_map(as_heartbeat));
        since_last += READ_MS;
        if let Some(heartbeat) = heartbeat {
            assert_eq!(heartbeat.shards, None, "the read was overtaken by a result");
            let error = "teardowns ended during every read of the inventory";
            assert_eq!(heartbeat.inventory_error, Some(Text::from(error)));
            agent.accept_heartbeat(&heartbeat, false, false);
            assert!(
                since_last <= INTERVAL,
                "{since_last} ms without a heartbeat"
            );
            since_last = 0;
            sent += 1;
        }
    }
    assert!(sent >= 5, "{sent} heartbeats");
    // When no more results arrive, the inventory is sent.
    let full = (0..20).find_map(|_| {
        let read = agent.handle(Input::InventoryRead(Ok(build_inventory(&["a"]))));
        let heartbeat = read.iter().find_map(as_heartbeat);
        agent.advance(READ_MS);
        heartbeat?.shards
    });
    assert_eq!(full.map(|shards| shards.len()), Some(1));
}

#[test]
fn after_a_result_the_full_inventory_is_sent_even_if_one_in_flight_is_accepted() {
    let one = build_inventory(&["a"]);
    let mut agent = TestAgent::connected();
    agent.send_command(1, None);
    let before = agent.next_heartbeat(&one);
    agent.finish_teardown(1, TeardownReport::default());
    agent.accept_heartbeat(&before, false, false);
    let at = agent.now.monotonic_ms;
    assert!(agent.next_heartbeat(&one).shards.is_some());
    assert_eq!(
        agent.now.monotonic_ms - at,
        250,
        "the heartbeat does not wait for the interval"
    );
}

#[test]
fn stale_reports_are_logged_once_unless_a_result_overtook_the_heartbeat() {
    let one = build_inventory(&["a"]);
    let mut agent = TestAgent::connected();
    agent.send_command(1, None);
    let overtaken = agent.next_heartbeat(&one);
    agent.finish_teardown(1, TeardownReport::default());
    agent.accept_heartbeat(&overtaken, false, true);
    assert!(!emitted_events(&agent.effects).contains(&AgentEvent::ReportsStale));
    for is_logged in [true, false] {
        let stale = agent.next_heartbeat(&one);
        agent.accept_heartbeat(&stale, false, true);
        assert_eq!(
            emitted_events(&agent.effects).contains(&AgentEvent::ReportsStale),
            is_logged
        );
    }
}

/// Answers a heartbeat as stale.
fn reply_stale<'a>(
    agent: &'a mut TestAgent,
    heartbeat: &Heartbeat,
    other: OtherAgent,
) -> &'a [Effect] {
    agent.handle(Input::HeartbeatReply {
        request: HeartbeatPage {
            sequence: heartbeat.sequence,
            page: 1,
        },
        reply: Ok(HeartbeatAccepted {
            accepted: true,
            send_inventory: false,
            stale: true,
            other_agent: Some(other),
        }),
    })
}

#[test]
fn an_agent_whose_reports_are_stale_gets_a_new_boot_id_when_the_other_agent_is_silent() {
    let one = build_inventory(&["a"]);
    // The clock of the other agent is 30 minutes ahead in one case, and behind in the other.
    for ahead_ms in [1_800_000, -1_800_000] {
        let mut agent = TestAgent::connected();
        let first = agent.next_heartbeat(&one);
        agent.accept_heartbeat(&first, false, false);
        let millis = u128::from((START + ahead_ms).unsigned_abs());
        let boot_id = BootId(Uuid::from_u128(millis << 80 | 7));
        let other = |silent| OtherAgent { boot_id, silent };
        let stale = agent.next_heartbeat(&one);
        let at = agent.now.monotonic_ms;
        let effects = reply_stale(&mut agent, &stale, other(false));
        assert_eq!(emitted_events(effects), [AgentEvent::ReportsStale]);
        let stale = agent.next_heartbeat(&one);
        assert!(agent.now.monotonic_ms - at <= 1_000, "the second is early");
        assert_eq!(stale.boot_id, first.boot_id);

        let replaced = AgentEvent::BootReplaced { silent: boot_id };
        let effects = reply_stale(&mut agent, &stale, other(true));
        assert!(emitted_events(effects).contains(&replaced), "{effects:?}");
        let next = agent.next_heartbeat(&one);
        assert!(next.boot_id > boot_id && next.boot_id > first.boot_id);
        assert!(next.sequence > stale.sequence && next.shards.is_some());
        assert_eq!(agent.machine.boot_id(), next.boot_id);
        agent.crash();
        assert!(agent.machine.boot_id() > next.boot_id, "the id is durable");
    }
}

#[test]
fn an_agent_of_the_current_boot_reports_another_agent_when_that_begins() {
    let one = build_inventory(&["a"]);
    let mut agent = TestAgent::connected();
    for (has_other, is_logged) in [(true, true), (true, false), (false, false), (true, true)] {
        let sent = agent.next_heartbeat(&one);
        let other = OtherAgent {
            boot_id: BootId(Uuid::nil()),
            silent: false,
        };
        let effects = agent.handle(Input::HeartbeatReply {
            request: HeartbeatPage {
                sequence: sent.sequence,
                page: 1,
            },
            reply: Ok(HeartbeatAccepted {
                accepted: true,
                send_inventory: false,
                stale: false,
                other_agent: has_other.then_some(other),
            }),
        });
        let events = emitted_events(effects);
        assert_eq!(events.contains(&AgentEvent::OtherAgentReports), is_logged);
    }
}

#[test]
fn a_rejected_host_retries_with_growing_delays_and_logs_each_reason_once() {
    let one = build_inventory(&["a"]);
    let mut agent = TestAgent::connected();
    let mut logged = 0;
    let mut longest = 0;
    for round in 0..8 {
        let at = agent.now.monotonic_ms;
        let sent = agent.next_heartbeat(&one);
        longest = longest.max(agent.now.monotonic_ms - at);
        let code = if round < 7 {
            ErrorCode::HostNotFound
        } else {
            ErrorCode::HostDecommissioned
        };
        let reply = Err(RequestFailure::Rejected(ErrorReply::new(code, "no")));
        agent.handle(Input::HeartbeatReply {
            request: HeartbeatPage {
                sequence: sent.sequence,
                page: 1,
            },
            reply,
        });
        let is_rejection = |event: &AgentEvent| matches!(event, AgentEvent::HostRejected { .. });
        logged += emitted_events(&agent.effects)
            .iter()
            .filter(|event| is_rejection(event))
            .count();
    }
    assert_eq!(logged, 2);
    assert!((15_000..=30_000).contains(&longest), "{longest}");
}

#[test]
fn an_unreadable_inventory_does_not_stop_the_heartbeats() {
    let one = build_inventory(&["a"]);
    let mut agent = TestAgent::connected();
    agent.run_until(|effect| matches!(effect, Effect::ReadInventory).then_some(()));
    agent.handle(Input::InventoryRead(Err(RuntimeError(
        "no socket".to_owned(),
    ))));
    let without = agent.run_until(as_heartbeat);
    assert_eq!(without.shards, None);
    assert_eq!(without.inventory_error, Some(Text::from("no socket")));
    let at = agent.now.monotonic_ms;
    agent.accept_heartbeat(&without, true, false);
    let with = agent.next_heartbeat(&one);
    assert_eq!(with.shards.map(|shards| shards.len()), Some(1));
    assert_eq!(with.inventory_error, None);
    assert!(
        agent.now.monotonic_ms - at >= INTERVAL * 9 / 10,
        "a requested inventory that is unreadable must not cause a busy loop"
    );
    // If the runtime hangs, the read times out, and its late outcome is discarded.
    let mut agent = TestAgent::connected();
    agent.run_until(|effect| matches!(effect, Effect::ReadInventory).then_some(()));
    for _ in 0..3 {
        let without = agent.run_until(as_heartbeat);
        assert_eq!(without.shards, None);
        assert!(without.inventory_error.is_some());
        agent.accept_heartbeat(&without, false, false);
    }
    agent.handle(Input::InventoryRead(Ok(one.clone())));
    assert_eq!(
        agent.next_heartbeat(&one).shards.map(|shards| shards.len()),
        Some(1)
    );
}

#[test]
fn a_large_inventory_is_sent_in_pages_and_is_accepted_when_all_pages_are() {
    let services = Services::try_from(vec!["s".repeat(64); 32]).expect("valid");
    let many: Inventory = (0..1000)
        .map(|number| ReportedShard {
            services: services.clone(),
            ..build_inventory(&[&format!("decky-{number}")]).shards[0].clone()
        })
        .collect();
    let mut agent = TestAgent::connected();
    agent.next_heartbeat(&many);
    let sent: Vec<Heartbeat> = agent.effects.iter().filter_map(as_heartbeat).collect();
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
        let accepted = AgentEvent::HeartbeatAccepted { inventory: true };
        assert_eq!(
            emitted_events(agent.accept_heartbeat(heartbeat, false, false)).contains(&accepted),
            page as usize == sent.len()
        );
    }
    assert_eq!(deckies, many.shards.len());
    let equal = many.shards.iter().cloned().collect();
    assert_eq!(agent.next_heartbeat(&equal).shards, None);
}

#[test]
fn every_heartbeat_has_the_last_notes_on_its_first_page() {
    let mut agent = TestAgent::connected();
    let note = Note::from("project trap2 has containers without the label scuttle.managed");
    let noted = Inventory {
        notes: [note.clone()].into(),
        ..build_inventory(&["a"])
    };
    let first = agent.next_heartbeat(&noted);
    agent.accept_heartbeat(&first, false, false);
    let second = agent.next_heartbeat(&noted);
    assert!(first.shards.is_some() && second.shards.is_none());
    assert_eq!(
        (&first.notes, &second.notes),
        (&vec![note.clone()], &vec![note])
    );
    agent.accept_heartbeat(&second, false, false);
    assert!(
        agent
            .next_heartbeat(&build_inventory(&["a"]))
            .notes
            .is_empty()
    );
}

#[test]
fn a_silent_controller_is_logged_once_and_results_are_sent_immediately_when_it_is_back() {
    let one = build_inventory(&["a"]);
    let mut agent = TestAgent::connected();
    agent.send_command(1, None);
    agent.finish_teardown(1, TeardownReport::default());
    let mut events = Vec::new();
    for _ in 0..6 {
        let sent = agent.next_heartbeat(&one);
        agent.handle(Input::ResultReply {
            operation_id: operation_id(1),
            reply: Err(RequestFailure::NoResponders),
        });
        let reply = Err(RequestFailure::NoResponders);
        agent.handle(Input::HeartbeatReply {
            request: HeartbeatPage {
                sequence: sent.sequence,
                page: 1,
            },
            reply,
        });
        events.extend(emitted_events(&agent.effects));
    }
    assert_eq!(events, [AgentEvent::ControllerSilent]);
    let sent = agent.next_heartbeat(&one);
    let back = agent.accept_heartbeat(&sent, false, false);
    assert!(
        emitted_events(back).contains(&AgentEvent::ControllerBack)
            && back.iter().any(|effect| as_result(effect).is_some())
    );
}
