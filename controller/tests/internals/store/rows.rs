//! Rows for the tests of stores. `meta`, `host` and the like create small rows, which differ only
//! in their keys and versions. `load` and `rows_of` return the content of a store.

use std::collections::BTreeMap;
use std::sync::Arc;

use scuttle_controller::store::Store;

use scuttle_core::{
    Change, HostRow, KeyId, KeyRow, Meta, OperationRow, OutcomeRow, Revisions, ShardRow,
};
use scuttle_schemas::agents::ReportedState;
use scuttle_schemas::hosts::HostStatus;
use scuttle_schemas::operations::{OperationState, ShardOutcome};
use scuttle_schemas::shards::ShardState;
use scuttle_schemas::{Labels, OperationId, Services, Text, Timestamp};
use uuid::Uuid;

const AT: i64 = 1_795_425_109_000;

pub(crate) fn meta(version: u64) -> Change {
    Change::Meta(Meta {
        epoch: version,
        revisions: Revisions::default(),
        record: None,
    })
}

pub(crate) fn host(host: &str, version: u64) -> Change {
    Change::Host(Box::new(HostRow {
        host: host.parse().expect("a host"),
        name: format!("name-{version}").parse().expect("a name"),
        address: None,
        labels: Labels::default(),
        status: HostStatus::Online,
        enrolled_at: Timestamp::from_millis(AT),
        last_heartbeat: None,
        interval_ms: 1000,
        agent_version: Some(Text::from("0.1.0")),
        inventory_error: None,
        applied: None,
        notes: Vec::new(),
        protected: false,
    }))
}

pub(crate) fn shard(host: &str, decky: &str, version: u64) -> Change {
    Change::Shard(Arc::new(ShardRow {
        host: host.parse().expect("a host"),
        decky: decky.parse().expect("a decky"),
        ip: Some("10.0.0.1".to_owned()),
        services: Services::default(),
        labels: Labels::default(),
        state: ShardState::Running,
        reported: ReportedState::Running,
        last_error: None,
        operation: None,
        last_seen: Timestamp::from_millis(AT),
        updated_at: Timestamp::from_millis(AT),
        revision: version,
        registered: 1,
        deployment: None,
        first_listed_in: None,
        protected: false,
    }))
}

pub(crate) fn removed(host: &str, decky: &str) -> Change {
    Change::ShardRemoved {
        host: host.parse().expect("a host"),
        decky: decky.parse().expect("a decky"),
    }
}

pub(crate) fn operation_removed(id: u64) -> Change {
    let id = OperationId(Uuid::from_u128(id.into()));
    Change::OperationRemoved { id }
}

fn key_id(key: &str) -> KeyId {
    KeyId {
        requester: "operator".to_owned(),
        key: key.to_owned(),
    }
}

pub(crate) fn key(key: &str, version: u64) -> Change {
    Change::Key(Box::new(KeyRow {
        id: key_id(key),
        request: Uuid::from_u128(version.into()),
        answered_at: Timestamp::from_millis(AT),
        operation: OperationId(Uuid::from_u128(1)),
        joined: false,
        host: "a".parse().expect("a host"),
        host_name: "name".parse().expect("a name"),
        decky: None,
        shards: 1,
        deadline: Timestamp::from_millis(AT + 60_000),
    }))
}

pub(crate) fn key_removed(key: &str) -> Change {
    Change::KeyRemoved { id: key_id(key) }
}

pub(crate) fn operation(host: &str, id: u64, version: u64) -> Change {
    Change::Operation(Arc::new(OperationRow {
        id: OperationId(Uuid::from_u128(id.into())),
        host: host.parse().expect("a host"),
        host_name: "name".parse().expect("a name"),
        decky: None,
        state: OperationState::Queued,
        requested_by: "operator".to_owned(),
        reason: None,
        accepted_at: Timestamp::from_millis(AT),
        deadline: Timestamp::from_millis(AT + 60_000),
        started_at: None,
        finished_at: None,
        attempts: 1,
        unused_count: 1,
        unused_time: Timestamp::from_millis(AT),
        error: None,
        covers_until: version,
        outcomes: vec![OutcomeRow {
            decky: "d".parse().expect("a decky"),
            outcome: ShardOutcome::Pending,
            error: None,
        }],
        trace: None,
        override_protection: false,
        evidence: Vec::new(),
    }))
}

/// Loads a store and returns its content as changes.
pub(super) fn load(store: &mut dyn Store) -> Vec<Change> {
    let mut changes = Vec::new();
    store
        .load(&mut |change| {
            changes.push(change);
            Ok(())
        })
        .expect("the store loads");
    changes
}

/// Applies a sequence of changes in order, and returns the rows that remain, by their keys.
pub(super) fn rows_of(changes: impl IntoIterator<Item = Change>) -> BTreeMap<String, Change> {
    let mut rows = BTreeMap::new();
    for change in changes {
        let key = match &change {
            Change::Meta(_) => "meta".to_owned(),
            Change::Host(row) => format!("host {}", row.host),
            Change::Shard(row) => format!("shard {}/{}", row.host, row.decky),
            Change::ShardRemoved { host, decky } => format!("shard {host}/{decky}"),
            Change::Operation(row) => format!("operation {}", row.id),
            Change::OperationRemoved { id } => format!("operation {id}"),
            Change::Key(row) => format!("key {:?}", row.id),
            Change::KeyRemoved { id } => format!("key {id:?}"),
        };
        match change {
            Change::ShardRemoved { .. }
            | Change::OperationRemoved { .. }
            | Change::KeyRemoved { .. } => rows.remove(&key),
            change => rows.insert(key, change),
        };
    }
    rows
}
