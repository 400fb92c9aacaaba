//! Every reply and broadcast fits into the smallest messages that a NATS server may be configured
//! for, whatever agents and operators have written into the record.

use std::collections::BTreeMap;

use scuttle_schemas::agents::{
    Evidence, Heartbeat, HeartbeatType, ReportedOutcome, ReportedShard, ReportedState,
    ResultOutcome, ShardResult, TeardownResult, TeardownResultType,
};
use scuttle_schemas::hosts::{EnrollRequest, HostsListRequest};
use scuttle_schemas::operations::{OperationGetRequest, OperationsListRequest};
use scuttle_schemas::protection::ProtectRequest;
use scuttle_schemas::shards::ShardsListRequest;
use scuttle_schemas::teardown::TeardownRequest;
use scuttle_schemas::{
    BootId, HostId, Labels, MAX_HEADER_BYTES, MIN_MAX_PAYLOAD, Note, OperationId, Services, Text,
    Timestamp,
};
use serde::Serialize;
use uuid::Uuid;

use crate::api::{Effect, Input, Reply, TeardownArgs};
use crate::message_limits::MessageLimits;
use crate::tests::scenario::Scenario;

const DECKIES: usize = 40;

/// A text whose characters take the most space in JSON: six bytes each.
fn long(characters: usize) -> String {
    "\u{1}".repeat(characters)
}

fn longest_labels() -> Labels {
    let label = |number: u8| (char::from(number).to_string() + &long(62), long(63));
    let labels: BTreeMap<_, _> = (1..=16).map(label).collect();
    Labels::try_from(labels).expect("within the limits")
}

fn longest_shard(number: usize) -> ReportedShard {
    ReportedShard {
        decky_id: format!("{number:064}").parse().expect("a decky id"),
        state: ReportedState::Running,
        services: Services::try_from(vec![long(64); 32]).expect("within the limits"),
        decky_ip: Some(long(64)),
        labels: longest_labels(),
        deployment: Some("d".repeat(64).parse().expect("a deployment")),
        reason: Some(Note::from(long(256).as_str())),
    }
}

#[track_caller]
fn assert_fits(message: &impl Serialize) {
    let bytes = serde_json::to_vec(message).expect("JSON").len();
    assert!(bytes + MAX_HEADER_BYTES <= MIN_MAX_PAYLOAD, "{bytes} bytes");
}

/// Applies an input. Checks the size of the reply and of all broadcasts, and returns the reply.
fn apply(swarm: &mut Scenario, input: Input) -> Option<Reply> {
    let (reply, effects) = swarm.apply(input);
    for effect in &effects {
        match effect {
            Effect::ShardsUpdated(message, _) => assert_fits(message),
            Effect::HostsUpdated(message) => assert_fits(message),
            Effect::OperationsUpdated(message, _) => assert_fits(message),
            Effect::Command { command, .. } => assert_fits(command),
            Effect::Relayed { .. } | Effect::Quarantine { .. } => {}
        }
    }
    if let Some(reply) = &reply {
        assert_fits(reply);
        assert!(!matches!(reply, Reply::Rejected(_)), "{reply:?}");
    }
    reply
}

/// A request to enroll the host with the longest texts.
fn enroll() -> Input {
    Input::Enroll {
        request: EnrollRequest {
            name: "n".repeat(64).parse().expect("a name"),
            address: Some(long(255)),
            labels: Some(longest_labels()),
            host_uuid: Some(host_id()),
        },
        host: host_id(),
    }
}

fn host_id() -> HostId {
    "h".repeat(64).parse().expect("a host id")
}

/// A report with the longest inventory, and one with the longest error in its place.
fn longest_heartbeats() -> [Heartbeat; 2] {
    let inventory = Heartbeat {
        kind: HeartbeatType,
        host_uuid: host_id(),
        agent_version: Text::from(long(512).as_str()),
        boot_id: BootId(Uuid::from_u128(1)),
        sequence: 1,
        sent_at: None,
        interval_ms: 10_000,
        page: 1,
        pages: 1,
        shards: Some((0..DECKIES).map(longest_shard).collect()),
        inventory_error: None,
        notes: vec![Note::from(long(256).as_str()); 32],
    };
    let error = Heartbeat {
        sequence: 2,
        shards: None,
        inventory_error: Some(Text::from(long(512).as_str())),
        ..inventory.clone()
    };
    [inventory, error]
}

fn tear_down(operation_id: OperationId) -> Input {
    let request = TeardownRequest {
        host_uuid: host_id(),
        decky_id: None,
        timeout_s: 600,
        dry_run: false,
        expect_plan: None,
        reason: Some(long(512)),
        override_protection: true,
    };
    Input::Teardown(TeardownArgs {
        request,
        operation_id,
        requested_by: long(64),
        key: None,
        trace: None,
    })
}

/// A result in which every decky has failed, with the longest error and evidence.
fn longest_result(operation_id: OperationId, at: Timestamp) -> Input {
    let failed = |number: usize| ShardResult {
        decky_id: format!("{number:064}").parse().expect("a decky id"),
        outcome: ReportedOutcome::Failed,
        error: Some(Text::from(long(512).as_str())),
        evidence: Some(Evidence {
            path: long(1024),
            bytes: u64::MAX >> 11,
            sha256: "0".repeat(64),
        }),
    };
    let result = TeardownResult {
        kind: TeardownResultType,
        operation_id,
        host_uuid: host_id(),
        boot_id: BootId(Uuid::from_u128(1)),
        sequence: 3,
        outcome: ResultOutcome::Failed,
        error: Some(Text::from(long(512).as_str())),
        shards: (0..DECKIES).map(failed).collect(),
        started_at: at,
        finished_at: at,
    };
    Input::Result {
        host: host_id(),
        result,
        trace: None,
    }
}

#[test]
fn every_message_fits_into_the_smallest_payload_of_a_server() {
    let mut swarm = Scenario::new();
    let limits = MessageLimits::new(MIN_MAX_PAYLOAD);
    swarm.state.set_message_limits(limits);
    apply(&mut swarm, enroll());
    for heartbeat in longest_heartbeats() {
        let host = host_id();
        apply(&mut swarm, Input::Heartbeat { host, heartbeat });
    }
    // The host is enrolled again, with the same name.
    apply(&mut swarm, enroll());
    let protect = ProtectRequest {
        host_uuid: host_id(),
        decky_id: None,
        protected: true,
        reason: Some(long(512)),
    };
    apply(&mut swarm, Input::Protect(protect));
    let operation_id = OperationId(Uuid::from_u128(2));
    apply(&mut swarm, tear_down(operation_id));
    let at = swarm.now;
    apply(&mut swarm, longest_result(operation_id, at));

    let (mut after, mut listed) = (None, 0);
    loop {
        let request = ShardsListRequest {
            after,
            ..ShardsListRequest::default()
        };
        let Some(Reply::Shards(page)) = apply(&mut swarm, Input::ShardsList(request)) else {
            panic!("not a list");
        };
        assert!(!page.shards.is_empty(), "a page has at least one record");
        listed += page.shards.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, DECKIES);
    let hosts = apply(&mut swarm, Input::HostsList(HostsListRequest::default()));
    assert!(matches!(hosts, Some(Reply::Hosts(page)) if page.hosts.len() == 1));
    let operations = Input::OperationsList(OperationsListRequest::default());
    let operations = apply(&mut swarm, operations);
    assert!(matches!(operations, Some(Reply::Operations(page)) if page.operations.len() == 1));
    let get = Input::OperationGet(OperationGetRequest { operation_id });
    let Some(Reply::Operation(reply)) = apply(&mut swarm, get) else {
        panic!("no operation");
    };
    assert!(!reply.operation.shards.expect("the shards").is_empty());
}
