//! The screen without a terminal: what its keys do, and what is drawn.

use std::time::{Duration, Instant};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use scuttle_schemas::hosts::HostRecord;
use scuttle_schemas::operations::OperationRecord;
use scuttle_schemas::shards::ShardRecord;
use scuttle_schemas::{HostId, OperationId, Timestamp};
use serde_json::json;

use super::{ARMED, Action, App, Command, Key, Swarm, Tab};
use crate::live::ShardKey;
use crate::mirror::Mirror;
use crate::verbs::watch::draw::Scene;

const AT: &str = "2026-11-23T09:11:49.000Z";
const QUEUED: &str = "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c11";
const FAILED: &str = "01997c3e-5f1a-7c80-a2f4-0d6a7b5f1c10";

/// A swarm of two hosts with two deckies each, one of which failed, and two operations.
struct Stage {
    hosts: Mirror<HostId, HostRecord>,
    shards: Mirror<ShardKey, ShardRecord>,
    operations: Mirror<OperationId, OperationRecord>,
    app: App,
    now: Instant,
}

fn host(name: &str, status: &str) -> (HostId, u64, HostRecord) {
    let record: HostRecord = serde_json::from_value(json!({
        "host_uuid": name, "name": name, "address": null, "labels": {}, "status": status, "last_heartbeat": AT,
        "agent_version": "0.1.0", "shards": 2, "open_operations": 0, "enrolled_at": AT,
    }))
    .expect("a host");
    (record.host_uuid.clone(), 1, record)
}

fn shard(host: &str, decky: &str, state: &str) -> (ShardKey, u64, ShardRecord) {
    let error = (state == "teardown_failed").then_some("network decnet_lan has active endpoints");
    let record: ShardRecord = serde_json::from_value(json!({
        "host_uuid": host, "host_name": host, "decky_id": decky, "decky_ip": "10.0.0.7", "services": ["ssh"], "labels": {},
        "state": state, "last_error": error, "operation_id": null, "last_seen": AT, "updated_at": AT, "revision": 1,
    }))
    .expect("a shard");
    let key = (record.host_uuid.clone(), record.decky_id.clone());
    (key, 1, record)
}

fn operation(id: &str, state: &str, ended: bool) -> (OperationId, u64, OperationRecord) {
    let waiting =
        json!({ "what": "agent", "detail": "host offline", "since": AT, "next_attempt_at": null });
    let record: OperationRecord = serde_json::from_value(json!({
        "operation_id": id, "kind": "teardown", "host_uuid": "alpha", "host_name": "alpha", "decky_id": "d-1", "state": state,
        "requested_by": "alice", "reason": null, "accepted_at": AT, "deadline": AT, "finished_at": ended.then_some(AT),
        "attempts": 1, "error": ended.then_some("container busy"),
        "counts": { "pending": 0, "removed": 0, "absent": 0, "failed": 1 },
        "waiting_for": (!ended).then_some(waiting),
    }))
    .expect("an operation");
    (record.operation_id, 1, record)
}

impl Stage {
    fn new() -> Self {
        let mut stage = Self {
            hosts: Mirror::new(),
            shards: Mirror::new(),
            operations: Mirror::new(),
            app: App::new(),
            now: Instant::now(),
        };
        let hosts = vec![host("alpha", "online"), host("beta", "offline")];
        stage.hosts.listed(1, hosts);
        let shards = vec![
            shard("alpha", "d-1", "teardown_failed"),
            shard("alpha", "d-2", "running"),
            shard("beta", "d-1", "running"),
            shard("beta", "d-2", "running"),
        ];
        stage.shards.listed(1, shards);
        let operations = vec![
            operation(FAILED, "failed", true),
            operation(QUEUED, "queued", false),
        ];
        stage.operations.listed(1, operations);
        stage
    }

    fn press(&mut self, code: KeyCode) -> Option<Command> {
        let swarm = Swarm {
            hosts: &self.hosts,
            shards: &self.shards,
            operations: &self.operations,
        };
        let event = KeyEvent::new(code, KeyModifiers::NONE);
        self.app.key(event, swarm, self.now)
    }

    fn press_all(&mut self, letters: &str) -> Option<Command> {
        letters
            .chars()
            .map(|letter| self.press(KeyCode::Char(letter)))
            .last()?
    }

    fn drawn(&self, stale: Option<&str>) -> String {
        let scene = Scene {
            app: &self.app,
            swarm: Swarm {
                hosts: &self.hosts,
                shards: &self.shards,
                operations: &self.operations,
            },
            stale: stale.map(str::to_owned),
            complete: true,
            now: AT
                .parse::<Timestamp>()
                .expect("a time")
                .plus_millis(180_000),
            colours: true,
        };
        let mut terminal = Terminal::new(TestBackend::new(100, 12)).expect("a screen");
        terminal.draw(|frame| scene.draw(frame)).expect("a frame");
        terminal.backend().to_string()
    }

    fn shows(&self, words: &[&str]) {
        let drawn = self.drawn(None);
        for word in words {
            assert!(drawn.contains(word), "{word:?} is in\n{drawn}");
        }
    }
}

fn shard_key(host: &str, decky: &str) -> Key {
    Key::Shard((
        host.parse().expect("a host"),
        decky.parse().expect("a decky"),
    ))
}

#[test]
fn a_teardown_takes_the_same_key_twice_within_four_seconds() {
    let mut stage = Stage::new();
    assert_eq!(stage.press_all("2jt"), None);
    stage.shows(&["Press t again within 4 s to tear down alpha/d-2"]);
    stage.now += ARMED + Duration::from_millis(1);
    assert_eq!(stage.press_all("t"), None, "too late: it is armed anew");
    stage.now += ARMED;
    let done = Command::Do(Action::TearDown, shard_key("alpha", "d-2"), None);
    assert_eq!(stage.press_all("t"), Some(done));
    assert_eq!(
        stage.press_all("t"),
        None,
        "once committed it is armed no more"
    );
    assert_eq!(stage.press_all("jt"), None, "another row is another decky");
    assert_eq!(stage.press(KeyCode::Esc), None);
    assert!(stage.app.armed.is_none());
}

#[test]
fn a_whole_host_goes_only_as_it_was_shown() {
    let mut stage = Stage::new();
    let alpha: HostId = "alpha".parse().expect("a host");
    assert_eq!(stage.press_all("t"), Some(Command::Plan(alpha.clone())));
    assert_eq!(stage.press_all("t"), None, "what would go is not known yet");
    stage
        .app
        .planned(&"beta".parse().expect("a host"), "other".to_owned(), 9);
    assert_eq!(stage.press_all("t"), None, "nor by another host's answer");
    stage.app.planned(&alpha, "hash".to_owned(), 2);
    stage.shows(&["tear down ALL of alpha: 2 deckies would go"]);
    let done = Command::Do(Action::TearDown, Key::Host(alpha), Some("hash".to_owned()));
    assert_eq!(stage.press_all("t"), Some(done));
}

#[test]
fn retry_and_cancel_are_for_what_they_fit() {
    let mut stage = Stage::new();
    assert_eq!(stage.press_all("2jrr"), None, "its teardown has not failed");
    stage.shows(&["its teardown has not failed"]);
    let done = Command::Do(Action::Retry, shard_key("alpha", "d-1"), None);
    assert_eq!(stage.press_all("krr"), Some(done));
    assert_eq!(stage.press_all("cc"), None, "a shard is not cancelled");
    let queued = Key::Operation(QUEUED.parse().expect("an id"));
    let failed = Key::Operation(FAILED.parse().expect("an id"));
    assert_eq!(stage.press_all("3rr"), None, "it has not ended");
    assert_eq!(
        stage.press_all("cc"),
        Some(Command::Do(Action::Cancel, queued, None))
    );
    assert_eq!(stage.press_all("jcc"), None, "it has ended");
    assert_eq!(
        stage.press_all("rr"),
        Some(Command::Do(Action::Retry, failed, None))
    );
}

#[test]
fn the_selection_stays_on_its_row_and_rows_are_filtered() {
    let mut stage = Stage::new();
    stage.press_all("2jj");
    stage
        .shards
        .told(2, Vec::new(), vec![shard("alpha", "d-1", "running").0]);
    assert_eq!(stage.press_all("t"), None);
    stage.shows(&["beta/d-1"]);
    stage.press_all("/alpha");
    assert!(stage.app.typing && stage.app.armed.is_some());
    stage.press(KeyCode::Enter);
    let rows = |stage: &Stage| {
        let swarm = Swarm {
            hosts: &stage.hosts,
            shards: &stage.shards,
            operations: &stage.operations,
        };
        stage.app.rows(swarm).len()
    };
    assert_eq!(rows(&stage), 1);
    stage.press_all("/");
    assert_eq!(stage.press(KeyCode::Esc), None);
    assert_eq!(rows(&stage), 3);
    stage.press_all("1f");
    assert_eq!(rows(&stage), 1, "the host that is offline");
    assert_eq!(stage.press_all("q"), Some(Command::Quit));
}

#[test]
fn a_host_leads_to_its_shards_and_an_operation_to_itself() {
    let mut stage = Stage::new();
    assert_eq!(stage.press(KeyCode::Enter), None);
    assert_eq!(
        (stage.app.tab, stage.app.filter.as_str()),
        (Tab::Shards, "alpha")
    );
    assert_eq!(
        stage.press(KeyCode::Enter),
        None,
        "no operation has touched it"
    );
    stage.press(KeyCode::Esc);
    stage.press(KeyCode::Esc);
    stage.press_all("3");
    let id = QUEUED.parse().expect("an id");
    assert_eq!(stage.press(KeyCode::Enter), Some(Command::Show(id)));
}

#[test]
fn the_screen_shows_states_in_words_and_what_may_be_old() {
    let mut stage = Stage::new();
    stage.shows(&[
        "✗ 1 teardown failed",
        "✗ 1 offline",
        "● online",
        "✗ offline",
        "3 min ago",
    ]);
    stage.press_all("2");
    stage.shows(&[
        "✗ teardown failed",
        "network decnet_lan has active endpoints",
        "10.0.0.7",
    ]);
    stage.press_all("3");
    stage.shows(&[
        "○ queued",
        "host offline",
        "✗ failed",
        "container busy",
        "alice",
    ]);
    stage.press_all("?");
    stage.shows(&["Keys", "tear down the decky"]);
    stage.press_all("?");
    let drawn = stage.drawn(Some("the connection is lost"));
    assert!(
        drawn.contains("What is shown may be old: the connection is lost"),
        "{drawn}"
    );
}
