//! Backpressure: a request that finds no capacity is rejected as `overloaded` at once and leaves no trace; a request
//! that was admitted is answered in the end; lists are answered throughout. These tests run parts of the controller on a
//! real nats-server, with chosen limits and a store that blocks on demand.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::Context;
use async_nats::service::Service;
use scuttle_controller::admission::capacity::{Depth, Inbox, Limits, Room};
use scuttle_controller::admission::host_rate_limit::Share;
use scuttle_controller::leadership::lease::LeaseGuard;
use scuttle_controller::leadership::term::{self, Term};
use scuttle_controller::nats::{connection, service};
use scuttle_controller::observability::audit::Audit;
use scuttle_controller::observability::counters::Counters;
use scuttle_controller::observability::event_log::EventLog;
use scuttle_controller::outbound::publisher;
use scuttle_controller::partition::assignment::PartitionAssignment;
use scuttle_controller::request::endpoint::Endpoint;
use scuttle_controller::request::serve::{self, Desk, Inbound, Requester};
use scuttle_controller::store::{MemoryStore, Store, StoreError};
use scuttle_controller::{clock, engine};
use scuttle_core::{Change, Input, ReplayError, State};
use scuttle_nats::{ConnectConfig, Credentials, Tls};
use scuttle_schemas::{ErrorCode, subjects};
use scuttle_tests::clients::pipelined_requests::{PipelinedRequests, is_overloaded};
use scuttle_tests::{Client, Nats, Role, TestResult};
use serde_json::json;

/// A store whose appends wait until the gate is open: until its other end is dropped.
struct Gated {
    store: MemoryStore,
    gate: Receiver<()>,
}

impl Store for Gated {
    fn load(
        &mut self,
        each: &mut dyn FnMut(Change) -> Result<(), ReplayError>,
    ) -> Result<(), StoreError> {
        self.store.load(each)
    }

    fn append(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        // Nothing is ever sent: this returns when the gate opens.
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

/// A controller in this process.
struct Controller {
    operator: Client,
    /// Dropping it opens the gate.
    gate: Option<SyncSender<()>>,
    inbox: Inbox<Box<Requester>>,
    counters: Arc<Counters>,
    _service: Service,
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
    let (inbox, jobs) = Inbox::new(limits);
    let (outbox, effects) = tokio::sync::mpsc::channel(1);
    let (gate, gated) = sync_channel(0);
    let mut store = Gated {
        store: MemoryStore::default(),
        gate: gated,
    };
    // No layer makes lines of its events here.
    let audit = Audit::open(None)?;
    let events = EventLog::new(&State::default());
    let books = (audit.clone(), counters.clone(), events);
    let may_send = (connected.clone(), LeaseGuard::alone());
    let whole = (client.clone(), PartitionAssignment::WHOLE);
    let sending = publisher::run(whole, effects, may_send, books);
    tokio::spawn(sending);
    let (term, depose) = Term::until(term::listen()?);
    std::thread::spawn(move || {
        let state = engine::load(&mut store)?;
        let shown = (&Arc::default(), &depose);
        engine::run(state, &mut store, jobs, &outbox, clock::now, shown)
    });
    let desk = Desk {
        client: client.clone(),
        connected,
        audit: audit.clone(),
        counters: counters.clone(),
        term,
        assignment: PartitionAssignment::WHOLE,
        names: None,
    };
    let inbound = Inbound {
        inbox: inbox.clone(),
        desk,
    };
    let failed = |error: async_nats::Error| anyhow::anyhow!("{error}");
    let service = service::start(&client, &counters).await.map_err(failed)?;
    for endpoint in Endpoint::ALL {
        let builder = service.endpoint_builder().name(endpoint.name());
        let requests = builder.add(endpoint.subject()).await.map_err(failed)?;
        tokio::spawn(serve::serve(endpoint, requests, inbound.clone()));
    }
    // Subscribed.
    client.flush().await?;
    let operator = Client::connect(&nats, Role::Operator).await?;
    Ok(Controller {
        operator,
        gate: Some(gate),
        inbox,
        counters,
        _service: service,
        _nats: nats,
    })
}

const ENOUGH: Limits = Limits {
    relays: 1,
    relay_bytes: 1 << 20,
    changes: 100,
    reports: 100,
    reads: 100,
    bytes: 1 << 20,
    report_bytes: 1 << 20,
    share: Share::STANDARD,
};

/// While the disk hangs nobody is told anything of what is not on it, lists included. What there is room for
/// waits, what there is none for is refused at once; when the disk works again, each that waited is answered,
/// and nothing of the refused is there.
#[tokio::test]
async fn a_disk_that_hangs_loses_nothing_and_tells_nothing_false() -> TestResult {
    let limits = Limits {
        changes: 3,
        reads: 2,
        ..ENOUGH
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
        let (refused, answer) = requests.next_reply().await?;
        assert!(
            refused == number && is_overloaded(&answer),
            "{refused} {answer}"
        );
    }
    for number in 5..8 {
        requests
            .send(number, subjects::HOSTS_LIST, &json!({}))
            .await?;
    }
    let (refused, answer) = requests.next_reply().await?;
    assert!(refused == 7 && is_overloaded(&answer), "{refused} {answer}");
    let full = |name, most| (name, Depth { taken: most, most });
    let (depths, _) = controller.inbox.depths().all();
    assert!(depths.contains(&full("changes", 3)), "{depths:?}");
    assert!(depths.contains(&full("reads", 2)), "{depths:?}");

    controller.gate = None;
    let mut waited = Vec::new();
    for _ in 0..5 {
        let (number, answer) = requests.next_reply().await?;
        assert!(!is_overloaded(&answer), "{number} {answer}");
        if number < 3 {
            assert_eq!(answer["accepted"], true, "{number} {answer}");
        }
        waited.push(number);
    }
    waited.sort_unstable();
    assert_eq!(waited, [0, 1, 2, 5, 6]);
    let hosts = controller.operator.hosts().await?;
    let mut names: Vec<_> = hosts.values().map(|host| host.name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["worker-0", "worker-1", "worker-2"]);
    let counted = controller.counters.to_string();
    assert_eq!(
        counted,
        "hosts-enroll: 2 overloaded, hosts-list: 1 overloaded"
    );
    let answers = &controller.counters.answers;
    let refused = answers.refused(Endpoint::HostsEnroll);
    let refused: Vec<_> = refused.filter(|(_, count)| *count > 0).collect();
    assert_eq!(refused, [(ErrorCode::Overloaded, 2)]);
    assert_eq!(answers.granted(Endpoint::HostsEnroll), 3);
    Ok(())
}

/// Changes, reports and reads have room of their own.
#[tokio::test]
async fn lists_are_answered_while_changes_are_refused() -> TestResult {
    let mut controller = start(Limits {
        changes: 2,
        ..ENOUGH
    })
    .await?;
    controller.gate = None;
    let request = json!({ "name": "worker-a" });
    let mut requests = PipelinedRequests::new(&controller.operator).await?;
    let rooms: Vec<Room> = (0..2).filter_map(|_| room(&controller, 1)).collect();
    assert_eq!(rooms.len(), 2);

    requests.send(1, subjects::HOSTS_ENROLL, &request).await?;
    assert!(is_overloaded(&requests.next_reply().await?.1));
    for _ in 0..10 {
        assert_eq!(controller.operator.shards().await?, []);
        assert!(controller.operator.hosts().await?.is_empty());
    }
    drop(rooms);
    assert!(controller.operator.enroll("worker-a").await?.accepted);
    Ok(())
}

/// Few large payloads fill the inbox as many small ones do.
#[tokio::test]
async fn the_bytes_that_wait_are_bounded() -> TestResult {
    let mut controller = start(Limits {
        bytes: 1000,
        ..ENOUGH
    })
    .await?;
    controller.gate = None;
    let mut requests = PipelinedRequests::new(&controller.operator).await?;
    let large = room(&controller, 990).context("there is room")?;
    let request = json!({ "name": "worker-a" });
    requests.send(1, subjects::HOSTS_ENROLL, &request).await?;
    assert!(is_overloaded(&requests.next_reply().await?.1));
    drop(large);
    assert!(controller.operator.enroll("worker-a").await?.accepted);
    Ok(())
}

/// Takes up room as a change of so many bytes does.
fn room(controller: &Controller, bytes: usize) -> Option<Room> {
    let request = scuttle_schemas::read("enroll request", br#"{"name":"x"}"#).expect("valid");
    let host = "x".parse().expect("valid");
    controller
        .inbox
        .room(&Input::Enroll { request, host }, bytes)
}
