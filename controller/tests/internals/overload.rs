//! Backpressure. These tests run parts of the controller on a real nats-server, with chosen limits
//! and a store that blocks on demand. They check that:
//!
//! - A request that finds no capacity is immediately rejected as `overloaded`, and leaves no trace.
//! - A request that was admitted always gets its reply.
//! - Lists are served while changes are rejected.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::Context;
use scuttle_controller::admission::capacity::{Capacity, Limits, Permit, Usage};
use scuttle_controller::admission::host_rate_limit::HostRateLimit;
use scuttle_controller::admission::quarantine::Quarantine;
use scuttle_controller::engine::{self, Engine};
use scuttle_controller::leadership::lease::LeaseGuard;
use scuttle_controller::leadership::term::Term;
use scuttle_controller::nats::connection;
use scuttle_controller::nats::receivers::{Group, GroupSubscriptions, Receivers};
use scuttle_controller::observability::audit::Audit;
use scuttle_controller::observability::counters::Counters;
use scuttle_controller::observability::event_log::EventLog;
use scuttle_controller::outbound::publisher::Publisher;
use scuttle_controller::outbound::replier::Replier;
use scuttle_controller::partition::assignment::PartitionAssignment;
use scuttle_controller::request::endpoint::Endpoint;
use scuttle_controller::request::pipeline::{Intake, Pipeline};
use scuttle_controller::request::serve;
use scuttle_controller::store::{MemoryStore, Store, StoreError};
use scuttle_controller::{clock, signals};
use scuttle_core::{Change, Input, ReplayError, State};
use scuttle_nats::{ConnectConfig, Credentials, Tls};
use scuttle_schemas::{ErrorCode, subjects};
use scuttle_tests::clients::pipelined_requests::{PipelinedRequests, is_overloaded};
use scuttle_tests::{Client, Nats, Role, TestResult};
use serde_json::json;

/// A store whose appends block until the sender that belongs to `gate` is dropped.
struct GatedStore {
    store: MemoryStore,
    gate: Receiver<()>,
}

impl Store for GatedStore {
    fn load(
        &mut self,
        each: &mut dyn FnMut(Change) -> Result<(), ReplayError>,
    ) -> Result<(), StoreError> {
        self.store.load(each)
    }

    fn append(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        // Nothing is ever sent: this returns when the sender is dropped.
        let _ = self.gate.recv();
        self.store.append(changes)
    }

    fn checkpoint(&mut self, changes: usize) -> Result<usize, StoreError> {
        self.store.checkpoint(changes)
    }

    fn journal_len(&self) -> usize {
        self.store.journal_len()
    }
}

/// The parts of a controller that are under test, running in this process.
struct Controller {
    operator: Client,
    /// The sender that keeps the store's appends blocked. Dropping the sender lets them proceed.
    gate: Option<SyncSender<()>>,
    capacity: Capacity,
    counters: Arc<Counters>,
    _receivers: Receivers,
    _nats: Nats,
}

async fn start(limits: Limits) -> anyhow::Result<Controller> {
    let nats = Nats::start().await?;
    let access = ConnectConfig {
        url: nats.url(),
        credentials: Credentials::Password {
            user: Role::Controller.user().to_owned(),
            password: nats.password(Role::Controller).into(),
        },
        tls: Tls::default(),
    };
    let counters = Arc::new(Counters::default());
    let (client, connected) = connection::connect(&access, &counters).await;
    let capacity = Capacity::new(limits);
    let (jobs_sender, jobs) = sync_channel(capacity.max_messages());
    let (outbox_sender, outbox) = tokio::sync::mpsc::channel(1);
    let (gate, gated) = sync_channel(0);
    let mut store = GatedStore {
        store: MemoryStore::default(),
        gate: gated,
    };
    // The audit lines appear on standard output.
    let audit = Audit::open(None)?;
    let replier = Replier::new(
        client.clone(),
        connected.clone(),
        audit.clone(),
        counters.clone(),
    );
    let publisher = Publisher {
        client: client.clone(),
        connected,
        lease: LeaseGuard::unlimited(),
        assignment: PartitionAssignment::WHOLE,
        replier: replier.clone(),
        event_log: EventLog::new(&State::default()),
        quarantine: Quarantine::default(),
        audit: audit.clone(),
    };
    tokio::spawn(publisher.run(outbox));
    let (term, step_down) = Term::start(signals::listen()?);
    std::thread::spawn(move || {
        let engine = Engine {
            state: engine::load(&mut store)?,
            store,
            jobs,
            outbox: outbox_sender,
            stats: Arc::default(),
            step_down,
            now: clock::now,
            max_payload: Box::new(|| 1 << 20),
        };
        engine.run()
    });
    let intake = Intake {
        capacity: capacity.clone(),
        counters: counters.clone(),
        quarantine: Quarantine::default(),
        from_accounts: Arc::default(),
        term,
        assignment: PartitionAssignment::WHOLE,
        names: None,
    };
    let mut subscriptions = GroupSubscriptions::default();
    for endpoint in Endpoint::ALL {
        let requests = subscriptions.add(Group::Changes, [endpoint.subject()]);
        let pipeline = Pipeline {
            endpoint,
            intake: intake.clone(),
            jobs: Some(jobs_sender.clone()),
        };
        tokio::spawn(serve::serve_endpoint(requests, pipeline, replier.clone()));
    }
    let receivers = subscriptions.start(&access, &counters)?;
    receivers.wait_until_up().await;
    let operator = Client::connect(&nats, Role::Operator).await?;
    Ok(Controller {
        operator,
        gate: Some(gate),
        capacity,
        counters,
        _receivers: receivers,
        _nats: nats,
    })
}

const SUFFICIENT: Limits = Limits {
    relays: 1,
    relay_bytes: 1 << 20,
    changes: 100,
    reports: 100,
    reads: 100,
    request_bytes: 1 << 20,
    report_bytes: 1 << 20,
    host_rate: HostRateLimit::STANDARD,
};

/// - While the store blocks, requests within the capacity wait and others are immediately rejected.
///   No reply, not even a list, contains a change that is not durable.
/// - When the store continues, each waiting request gets its reply. The rejected requests have left
///   no trace.
#[tokio::test]
async fn a_blocked_store_loses_no_request_and_causes_no_wrong_reply() -> TestResult {
    let limits = Limits {
        changes: 3,
        reads: 2,
        ..SUFFICIENT
    };
    let mut controller = start(limits).await?;
    let mut requests = PipelinedRequests::new(&controller.operator).await?;
    for number in 0..5 {
        let request = json!({ "name": format!("worker-{number}") });
        requests
            .send(number, subjects::HOSTS_ENROLL, &request)
            .await?;
    }
    for number in [3, 4] {
        let (rejection, reply) = requests.next_reply().await?;
        assert!(
            rejection == number && is_overloaded(&reply),
            "{rejection} {reply}"
        );
    }
    for number in 5..8 {
        requests
            .send(number, subjects::HOSTS_LIST, &json!({}))
            .await?;
    }
    let (rejection, reply) = requests.next_reply().await?;
    assert!(
        rejection == 7 && is_overloaded(&reply),
        "{rejection} {reply}"
    );
    let full = |name, limit| (name, Usage { used: limit, limit });
    let usage = controller.capacity.usage().messages;
    assert!(usage.contains(&full("changes", 3)), "{usage:?}");
    assert!(usage.contains(&full("reads", 2)), "{usage:?}");

    controller.gate = None;
    let mut waited = Vec::new();
    for _ in 0..5 {
        let (number, reply) = requests.next_reply().await?;
        assert!(!is_overloaded(&reply), "{number} {reply}");
        if number < 3 {
            assert_eq!(reply["accepted"], true, "{number} {reply}");
        }
        waited.push(number);
    }
    waited.sort_unstable();
    assert_eq!(waited, [0, 1, 2, 5, 6]);
    let hosts = controller.operator.list_hosts().await?;
    let mut names: Vec<_> = hosts.values().map(|host| host.name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["worker-0", "worker-1", "worker-2"]);
    let counted = controller.counters.to_string();
    assert_eq!(
        counted,
        "hosts-enroll: 2 overloaded, hosts-list: 1 overloaded"
    );
    let counters = &controller.counters;
    let rejection = counters.rejections(Endpoint::HostsEnroll);
    let rejection: Vec<_> = rejection.filter(|(_, count)| *count > 0).collect();
    assert_eq!(rejection, [(ErrorCode::Overloaded, 2)]);
    assert_eq!(counters.granted(Endpoint::HostsEnroll), 3);
    Ok(())
}

#[tokio::test]
async fn lists_have_capacity_while_changes_are_rejected() -> TestResult {
    let mut controller = start(Limits {
        changes: 2,
        ..SUFFICIENT
    })
    .await?;
    controller.gate = None;
    let request = json!({ "name": "worker-a" });
    let mut requests = PipelinedRequests::new(&controller.operator).await?;
    let permits: Vec<Permit> = (0..2).filter_map(|_| take_permit(&controller, 1)).collect();
    assert_eq!(permits.len(), 2);

    requests.send(1, subjects::HOSTS_ENROLL, &request).await?;
    assert!(is_overloaded(&requests.next_reply().await?.1));
    for _ in 0..10 {
        assert_eq!(controller.operator.list_shards().await?, []);
        assert!(controller.operator.list_hosts().await?.is_empty());
    }
    drop(permits);
    assert!(controller.operator.enroll("worker-a").await?.accepted);
    Ok(())
}

/// A single large payload uses up the capacity, as many small ones would.
#[tokio::test]
async fn the_payload_bytes_of_waiting_requests_are_limited() -> TestResult {
    let mut controller = start(Limits {
        request_bytes: 1000,
        ..SUFFICIENT
    })
    .await?;
    controller.gate = None;
    let mut requests = PipelinedRequests::new(&controller.operator).await?;
    let large = take_permit(&controller, 990).context("there is capacity")?;
    let request = json!({ "name": "worker-a" });
    requests.send(1, subjects::HOSTS_ENROLL, &request).await?;
    assert!(is_overloaded(&requests.next_reply().await?.1));
    drop(large);
    assert!(controller.operator.enroll("worker-a").await?.accepted);
    Ok(())
}

/// Takes a permit for a change whose payload has `bytes` bytes.
fn take_permit(controller: &Controller, bytes: usize) -> Option<Permit> {
    let request = scuttle_schemas::read("enroll request", br#"{"name":"x"}"#).expect("valid");
    let host = "x".parse().expect("valid");
    let input = Input::Enroll { request, host };
    controller.capacity.admit(&input, bytes).ok()
}
