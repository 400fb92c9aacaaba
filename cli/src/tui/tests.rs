//! Tests of the screen without a terminal: the effect of keys, and the drawn text.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use scuttle_schemas::hosts::HostRecord;
use scuttle_schemas::operations::OperationRecord;
use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::{HostId, OperationId, Timestamp};
use serde_json::json;

use super::app::{Action, App, CONFIRM_TIMEOUT, Command, Popup, RowKey, SwarmView, Tab};
use super::draw::{BOTTOM_KEYS, Scene};
use crate::client::live_view::ShardKey;
use crate::client::replica_view::{ListedRecord, ReplicaView};

const AT: &str = "2026-11-23T09:11:49.000Z";
const QUEUED: &str = "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11";
const FAILED: &str = "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c10";

/// A screen of a swarm with two hosts, two deckies on each host, and two operations. The teardown
/// of one decky has failed.
struct TestScreen {
    hosts: ReplicaView<HostId, HostRecord>,
    shards: ReplicaView<ShardKey, ShardRecord>,
    operations: ReplicaView<OperationId, OperationRecord>,
    app: App,
    now: Instant,
}

fn host(name: &str, status: &str) -> ListedRecord<HostId, HostRecord> {
    let record: HostRecord = serde_json::from_value(json!({
        "host_uuid": name, "name": name, "address": null, "labels": {}, "status": status, "last_heartbeat": AT,
        "agent_version": "0.1.0", "shards": 2, "open_operations": 0, "enrolled_at": AT,
    }))
    .expect("a valid host record");
    ListedRecord {
        key: record.host_uuid.clone(),
        revision: 1,
        record,
    }
}

fn shard(host: &str, decky: &str, state: &str) -> ListedRecord<ShardKey, ShardRecord> {
    let error = (state == "teardown_failed").then_some("network decnet_lan has active endpoints");
    let record: ShardRecord = serde_json::from_value(json!({
        "host_uuid": host, "host_name": host, "decky_id": decky, "decky_ip": "10.0.0.7", "services": ["ssh"], "labels": {},
        "state": state, "last_error": error, "operation_id": null, "last_seen": AT, "updated_at": AT, "revision": 1,
    }))
    .expect("a valid shard record");
    ListedRecord {
        key: (record.host_uuid.clone(), record.decky_id.clone()),
        revision: 1,
        record,
    }
}

fn operation(id: &str, state: &str, ended: bool) -> ListedRecord<OperationId, OperationRecord> {
    let waiting =
        json!({ "what": "agent", "detail": "host offline", "since": AT, "next_attempt_at": null });
    let record: OperationRecord = serde_json::from_value(json!({
        "operation_id": id, "kind": "teardown", "host_uuid": "alpha", "host_name": "alpha", "decky_id": "d-1", "state": state,
        "requested_by": "alice", "reason": null, "accepted_at": AT, "deadline": AT, "finished_at": ended.then_some(AT),
        "attempts": 1, "error": ended.then_some("container busy"),
        "counts": { "pending": 0, "removed": 0, "absent": 0, "failed": 1 },
        "waiting_for": (!ended).then_some(waiting),
    }))
    .expect("a valid operation record");
    ListedRecord {
        key: record.operation_id,
        revision: 1,
        record,
    }
}

impl TestScreen {
    fn new() -> Self {
        let mut screen = Self {
            hosts: ReplicaView::new(),
            shards: ReplicaView::new(),
            operations: ReplicaView::new(),
            app: App::new(),
            now: Instant::now(),
        };
        let hosts = vec![host("alpha", "online"), host("beta", "offline")];
        screen.hosts.apply_listing(1, hosts);
        let shards = vec![
            shard("alpha", "d-1", "teardown_failed"),
            shard("alpha", "d-2", "running"),
            shard("beta", "d-1", "running"),
            shard("beta", "d-2", "running"),
        ];
        screen.shards.apply_listing(1, shards);
        let operations = vec![
            operation(FAILED, "failed", true),
            operation(QUEUED, "queued", false),
        ];
        screen.operations.apply_listing(1, operations);
        screen
    }

    fn swarm(&self) -> SwarmView<'_> {
        SwarmView {
            hosts: &self.hosts,
            shards: &self.shards,
            operations: &self.operations,
        }
    }

    fn row_count(&self) -> usize {
        self.app.rows(self.swarm()).len()
    }

    fn press(&mut self, code: KeyCode) -> Option<Command> {
        let swarm = SwarmView {
            hosts: &self.hosts,
            shards: &self.shards,
            operations: &self.operations,
        };
        let event = KeyEvent::new(code, KeyModifiers::NONE);
        self.app.handle_key(event, swarm, self.now)
    }

    fn press_keys(&mut self, letters: &str) -> Option<Command> {
        letters
            .chars()
            .map(|letter| self.press(KeyCode::Char(letter)))
            .last()?
    }

    fn draw(&self, stale_reason: Option<&str>) -> String {
        self.draw_at_width(100, stale_reason)
    }

    fn draw_at_width(&self, width: u16, stale_reason: Option<&str>) -> String {
        let scene = Scene {
            app: &self.app,
            swarm: self.swarm(),
            swarm_name: "nats://a:4222 (bus directory b)",
            stale_reason: stale_reason.map(str::to_owned),
            is_complete: true,
            now: AT
                .parse::<Timestamp>()
                .expect("a valid time")
                .plus_millis(180_000),
            has_colors: true,
        };
        let mut terminal = Terminal::new(TestBackend::new(width, 12)).expect("a test terminal");
        terminal
            .draw(|frame| scene.draw(frame))
            .expect("a drawn frame");
        terminal.backend().to_string()
    }

    fn assert_shows(&self, words: &[&str]) {
        let drawn = self.draw(None);
        for word in words {
            assert!(drawn.contains(word), "{word:?} is in\n{drawn}");
        }
    }
}

fn shard_key(host: &str, decky: &str) -> RowKey {
    RowKey::Shard((
        host.parse().expect("a valid id"),
        decky.parse().expect("a valid id"),
    ))
}

#[test]
fn a_teardown_is_confirmed_with_another_key_within_four_seconds() {
    let mut screen = TestScreen::new();
    assert_eq!(screen.press_keys("2jt"), None);
    screen.assert_shows(&["Press y within 4 s to tear down d-2 on alpha"]);
    screen.now += CONFIRM_TIMEOUT + Duration::from_millis(1);
    assert_eq!(
        screen.press_keys("y"),
        None,
        "the confirmation came too late"
    );
    assert_eq!(screen.press_keys("t"), None);
    screen.now += CONFIRM_TIMEOUT;
    let confirmed = Command::Run {
        action: Action::TearDown,
        row: shard_key("alpha", "d-2"),
        plan: None,
    };
    assert_eq!(screen.press_keys("y"), Some(confirmed));
    assert_eq!(
        screen.press_keys("y"),
        None,
        "the action ran, so it is no longer pending"
    );
    assert_eq!(
        screen.press_keys("jt"),
        None,
        "another row has another target"
    );
    assert_eq!(screen.press(KeyCode::Esc), None);
    assert!(screen.app.pending.is_none());
}

#[test]
fn a_key_that_is_held_down_confirms_nothing() {
    let mut screen = TestScreen::new();
    for key in ["t", "r", "c"] {
        for tab in ["1", "2", "3"] {
            screen.press_keys(tab);
            screen.press_keys(key);
            let proposed = screen
                .app
                .pending
                .as_ref()
                .map(|pending| pending.text.clone());
            for repeat in 0..12 {
                screen.now += CONFIRM_TIMEOUT / 100;
                assert_eq!(screen.press_keys(key), None, "{repeat} of {key} on {tab}");
            }
            let pending = screen
                .app
                .pending
                .as_ref()
                .map(|pending| pending.text.clone());
            assert_eq!(pending, proposed, "{key} on {tab}");
        }
    }
    let alpha: HostId = "alpha".parse().expect("a valid id");
    screen.press_keys("1t");
    screen.app.set_plan(&alpha, "hash".to_owned(), 2);
    screen.press_keys("tttttttttttt");
    assert!(screen.press_keys("y").is_some());
    assert_eq!(screen.press_keys("yyyyyyyyyyyy"), None);
}

#[test]
fn a_teardown_of_a_host_uses_the_plan_that_was_shown() {
    let mut screen = TestScreen::new();
    let alpha: HostId = "alpha".parse().expect("a valid id");
    assert_eq!(screen.press_keys("t"), Some(Command::Plan(alpha.clone())));
    assert_eq!(screen.press_keys("y"), None, "the plan has not arrived yet");
    screen
        .app
        .set_plan(&"beta".parse().expect("a valid id"), "other".to_owned(), 9);
    assert_eq!(
        screen.press_keys("y"),
        None,
        "the plan of another host does not count"
    );
    screen.app.set_plan(&alpha, "hash".to_owned(), 2);
    screen.assert_shows(&[
        "tear down ALL of alpha: 2 deckies would be removed",
        "nats://a:4222 (bus directory b)",
    ]);
    let confirmed = Command::Run {
        action: Action::TearDown,
        row: RowKey::Host(alpha),
        plan: Some("hash".to_owned()),
    };
    assert_eq!(screen.press_keys("y"), Some(confirmed));
}

#[test]
fn a_question_shows_the_id_of_the_host_and_the_way_out_on_a_narrow_screen() {
    let mut screen = TestScreen::new();
    let id: HostId = "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11"
        .parse()
        .expect("a valid id");
    let mut renamed = host("alpha", "online");
    renamed.key = id.clone();
    renamed.record.host_uuid = id.clone();
    screen.hosts.apply_listing(2, vec![renamed]);
    screen.press_keys("t");
    screen.app.set_plan(&id, "hash".to_owned(), 2);
    let drawn = screen.draw_at_width(80, None);
    for word in [
        "tear down ALL of alpha",
        id.as_str(),
        "2 deckies",
        "Esc cancels",
    ] {
        assert!(drawn.contains(word), "{word:?} is in\n{drawn}");
    }
}

#[test]
fn retry_and_cancel_are_rejected_on_unsuitable_rows() {
    let mut screen = TestScreen::new();
    assert_eq!(
        screen.press_keys("2jry"),
        None,
        "the teardown of d-2 has not failed"
    );
    screen.assert_shows(&["the teardown of this decky has not failed"]);
    let confirmed = Command::Run {
        action: Action::Retry,
        row: shard_key("alpha", "d-1"),
        plan: None,
    };
    assert_eq!(screen.press_keys("kry"), Some(confirmed));
    assert_eq!(screen.press_keys("cy"), None, "a shard cannot be cancelled");
    let queued = RowKey::Operation(QUEUED.parse().expect("a valid id"));
    let failed = RowKey::Operation(FAILED.parse().expect("a valid id"));
    assert_eq!(
        screen.press_keys("3ry"),
        None,
        "the operation has not ended"
    );
    assert_eq!(
        screen.press_keys("cy"),
        Some(Command::Run {
            action: Action::Cancel,
            row: queued,
            plan: None
        })
    );
    assert_eq!(screen.press_keys("jcy"), None, "the operation has ended");
    assert_eq!(
        screen.press_keys("ry"),
        Some(Command::Run {
            action: Action::Retry,
            row: failed,
            plan: None
        })
    );
}

#[test]
fn the_selection_follows_its_row_and_filters_hide_rows() {
    let mut screen = TestScreen::new();
    screen.press_keys("2jj");
    screen
        .shards
        .apply_broadcast(2, Vec::new(), vec![shard("alpha", "d-1", "running").key]);
    assert_eq!(screen.press_keys("t"), None);
    screen.assert_shows(&["tear down d-1 on beta"]);
    screen.press_keys("/alpha");
    assert!(screen.app.is_typing_filter && screen.app.pending.is_some());
    screen.press(KeyCode::Enter);
    assert_eq!(screen.row_count(), 1);
    screen.press_keys("/");
    assert_eq!(screen.press(KeyCode::Esc), None);
    assert_eq!(screen.row_count(), 3);
    screen.press_keys("1f");
    assert_eq!(screen.row_count(), 1, "only the offline host has a problem");
    assert_eq!(screen.press_keys("q"), Some(Command::Quit));
}

#[test]
fn enter_opens_the_shards_of_a_host_and_describes_an_operation() {
    let mut screen = TestScreen::new();
    assert_eq!(screen.press(KeyCode::Enter), None);
    assert_eq!(
        (screen.app.tab, screen.app.filter.as_str()),
        (Tab::Shards, "alpha")
    );
    assert_eq!(
        screen.press(KeyCode::Enter),
        None,
        "the shard has no operation"
    );
    screen.press(KeyCode::Esc);
    screen.press(KeyCode::Esc);
    screen.press_keys("3");
    let id = QUEUED.parse().expect("a valid id");
    assert_eq!(screen.press(KeyCode::Enter), Some(Command::Describe(id)));
}

#[test]
fn a_protected_host_and_decky_are_marked() {
    let mut screen = TestScreen::new();
    let mut protected = host("alpha", "online");
    protected.record.protected = true;
    screen.hosts.apply_listing(2, vec![protected]);
    let mut protected = shard("alpha", "d-2", "running");
    protected.record.protected = true;
    screen.shards.apply_listing(2, vec![protected]);
    screen.assert_shows(&["● online, protected"]);
    screen.press_keys("2");
    screen.assert_shows(&["● running, protected"]);
}

#[test]
fn the_screen_shows_states_in_words_and_warns_of_stale_data() {
    let mut screen = TestScreen::new();
    screen.assert_shows(&[
        "✗ 1 teardown failed",
        "✗ 1 offline",
        "● online",
        "✗ offline",
        "3 min ago",
    ]);
    screen.press_keys("2");
    screen.assert_shows(&[
        "✗ teardown failed",
        "network decnet_lan has active endpoints",
        "10.0.0.7",
    ]);
    screen.press_keys("3");
    screen.assert_shows(&[
        "○ queued",
        "host offline",
        "✗ failed",
        "container busy",
        "alice",
    ]);
    screen.press_keys("?");
    screen.assert_shows(&["Keys", "tear down a decky"]);
    screen.press_keys("?");
    let drawn = screen.draw(Some("the connection is lost"));
    assert!(
        drawn.contains("Data may be out of date: the connection is lost"),
        "{drawn}"
    );
}

#[test]
fn a_narrow_screen_shows_states_and_problems_and_cuts_no_word() {
    let mut screen = TestScreen::new();
    let long = |end: &str| format!("frankfurt-datacentre-7-rack-03-unit-{end}");
    let shards = vec![
        shard(&long("0001"), "d-1", "teardown_failed"),
        shard(&long("0002"), "d-1", "running"),
    ];
    screen.shards.apply_listing(2, shards);
    screen.press_keys("2");
    let drawn = screen.draw_at_width(80, None);
    for part in [
        "unit-0001",
        "unit-0002",
        "✗ teardown failed",
        "network decnet_lan has",
        "1 open",
    ] {
        assert!(drawn.contains(part), "{part:?} is in\n{drawn}");
    }
    let drawn = screen.draw_at_width(60, None);
    assert!(drawn.contains("▶ 1 open"), "{drawn}");
    assert!(drawn.contains("t tear down · r retry"), "{drawn}");
    let keys = drawn.lines().rfind(|line| line.contains("? help"));
    let keys = keys.unwrap_or_default().trim_matches(['"', ' ']);
    assert!(
        BOTTOM_KEYS.iter().any(|key| keys.ends_with(key)),
        "the line of keys ends with a whole key: {keys}"
    );
}

#[test]
fn an_ended_operation_shows_no_reason_as_its_problem() {
    let mut screen = TestScreen::new();
    let mut ended = operation(FAILED, "succeeded", true);
    ended.record.error = None;
    ended.record.reason = Some("rotating lures".to_owned());
    screen.operations.apply_listing(2, vec![ended]);
    screen.press_keys("3");
    let drawn = screen.draw(None);
    assert!(drawn.contains("✓ succeeded"), "{drawn}");
    assert!(!drawn.contains("rotating lures"), "{drawn}");
}

#[test]
fn the_description_of_an_operation_is_whole_on_a_narrow_screen() {
    let mut screen = TestScreen::new();
    let error = "could not kill container d-1-http: tried to kill container, but did not receive an exit event";
    screen.app.popup = Some(Popup::Operation(format!("error  {error}\nLAST")));
    let drawn = screen.draw_at_width(60, None);
    assert!(drawn.contains("exit event"), "{drawn}");
    assert!(drawn.contains("LAST"), "{drawn}");
}
