//! A real nats-server, and a fake controller that replies to agents and records what they send.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Message;
use futures_util::StreamExt;
use scuttle_agent::Connection;
use scuttle_nats::{ConnectConfig, Credentials, Tls};
use scuttle_schemas::agents::{
    AgentCommand, Heartbeat, HeartbeatAccepted, ResultRecorded, TeardownCommand, TeardownProgress,
    TeardownResult,
};
use scuttle_schemas::hosts::{EnrollAccepted, EnrollRequest, HostRecord, HostStatus};
use scuttle_schemas::subjects::{AgentChannel, HOSTS_ENROLL};
use scuttle_schemas::{DeckyId, HostId, OperationId, Timestamp, read};
use serde::Serialize;
use tokio::sync::watch;
use uuid::Uuid;

/// The maximum time that a test waits for an event.
const EVENT_TIMEOUT: Duration = Duration::from_secs(30);

/// A nats-server for one test.
pub(crate) struct Server {
    process: Child,
    port: u16,
}

impl Server {
    pub(crate) fn start() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        Self::start_at(free.expect("a free port").port())
    }

    fn start_at(port: u16) -> Self {
        let program = std::env::var("SCUTTLE_NATS_SERVER").expect(
            "set SCUTTLE_NATS_SERVER to the path of nats-server (2.10 or newer): this test needs a real one",
        );
        let process = Command::new(&program)
            .args(["-a", "127.0.0.1", "-p", &port.to_string()])
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        Self { process, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills the server and starts another server on the same port.
    pub(crate) fn restart(&mut self) {
        self.process
            .kill()
            .and_then(|()| self.process.wait())
            .expect("killed");
        *self = Self::start_at(self.port);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the agents have sent so far.
#[derive(Debug, Default)]
pub(crate) struct Received {
    /// The number of deckies in the last inventory of each host.
    pub inventories: BTreeMap<HostId, usize>,
    pub heartbeats: usize,
    pub progress: Vec<TeardownProgress>,
    pub results: BTreeMap<OperationId, TeardownResult>,
    /// The number of times that each result arrived.
    pub copies: BTreeMap<OperationId, usize>,
    /// The boot and the sequence number of the newest heartbeat of each host.
    newest: BTreeMap<HostId, (Uuid, u64)>,
}

pub(crate) fn connect_config(server: &Server) -> ConnectConfig {
    ConnectConfig {
        url: server.url(),
        credentials: Credentials::Anonymous,
        tls: Tls::default(),
    }
}

/// A controller that replies to every request, except to the first copy of each result. The agents
/// must therefore send each result again.
pub(crate) struct FakeController {
    connection: Connection,
    received: Arc<Mutex<Received>>,
    changes: watch::Receiver<u64>,
    epoch: u64,
}

impl FakeController {
    pub(crate) async fn start(server: &Server) -> Self {
        let connection = Connection::connect("test", &connect_config(server), None)
            .await
            .expect("connected");
        let received = Arc::new(Mutex::new(Received::default()));
        let (count, changes) = watch::channel(0);
        let mut messages = futures_util::stream::select_all([
            connection
                .client()
                .subscribe(HOSTS_ENROLL)
                .await
                .expect("subscribed"),
            connection
                .client()
                .subscribe(AgentChannel::Heartbeat.wildcard_subject())
                .await
                .expect("subscribed"),
            connection
                .client()
                .subscribe(AgentChannel::Results.wildcard_subject())
                .await
                .expect("subscribed"),
            connection
                .client()
                .subscribe(AgentChannel::Progress.wildcard_subject())
                .await
                .expect("subscribed"),
        ]);
        let (client, record) = (connection.client().clone(), received.clone());
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let reply = record
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .handle(&message);
                if let (Some(payload), Some(subject)) = (reply, message.reply) {
                    client
                        .publish(subject, payload.into())
                        .await
                        .expect("published");
                }
                count.send_modify(|count| *count += 1);
            }
        });
        Self {
            connection,
            received,
            changes,
            epoch: 1,
        }
    }

    /// Waits until the received messages satisfy `condition`, which `what` describes. Panics if
    /// this takes longer than [`EVENT_TIMEOUT`].
    pub(crate) async fn wait_until(&mut self, what: &str, condition: impl Fn(&Received) -> bool) {
        let received = self.received.clone();
        let condition =
            |_: &u64| condition(&received.lock().unwrap_or_else(PoisonError::into_inner));
        let waited = tokio::time::timeout(EVENT_TIMEOUT, self.changes.wait_for(condition)).await;
        assert!(
            waited.is_ok(),
            "timed out waiting until {what}: {:#?}",
            self.received
        );
    }

    pub(crate) fn inspect<T>(&self, inspect: impl Fn(&Received) -> T) -> T {
        inspect(&self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends the command to tear down a whole host as a new operation. Returns the operation's id.
    pub(crate) async fn tear_down(&self, host: &HostId) -> OperationId {
        let operation_id = OperationId(Uuid::now_v7());
        self.send_command(host, operation_id).await;
        operation_id
    }

    /// Sends the command to tear down one decky as a new operation. Returns the operation's id.
    pub(crate) async fn tear_down_decky(&self, host: &HostId, decky: &str) -> OperationId {
        let operation_id = OperationId(Uuid::now_v7());
        let decky = Some(decky.parse().expect("valid"));
        self.send_teardown(host, decky, operation_id).await;
        operation_id
    }

    /// Sends the command to tear down a whole host. `operation_id` is a new operation, or one whose
    /// command is repeated.
    pub(crate) async fn send_command(&self, host: &HostId, operation_id: OperationId) {
        self.send_teardown(host, None, operation_id).await;
    }

    async fn send_teardown(
        &self,
        host: &HostId,
        decky_id: Option<DeckyId>,
        operation_id: OperationId,
    ) {
        let command = AgentCommand::Teardown(TeardownCommand {
            operation_id,
            host_uuid: host.clone(),
            decky_id,
            attempt: 1,
            controller_epoch: self.epoch,
            not_after: Timestamp::from_millis(4_000_000_000_000),
            override_protection: false,
        });
        self.send_payload(host, to_json(&command)).await;
    }

    /// Sends a payload to the command subject of a host.
    pub(crate) async fn send_payload(&self, host: &HostId, payload: Vec<u8>) {
        let subject = AgentChannel::Commands.subject(host);
        self.connection
            .client()
            .publish(subject, payload.into())
            .await
            .expect("published");
    }
}

impl Received {
    fn handle(&mut self, message: &Message) -> Option<Vec<u8>> {
        let (subject, payload) = (message.subject.as_str(), &message.payload);
        if subject == HOSTS_ENROLL {
            return Some(to_json(&accept_enrollment(
                read("enrollment", payload).expect("read"),
            )));
        }
        if let Some(host) = AgentChannel::Heartbeat.parse_host(subject) {
            return Some(to_json(
                &self.accept_heartbeat(host, read("heartbeat", payload).expect("read")),
            ));
        }
        if AgentChannel::Progress.parse_host(subject).is_some() {
            self.progress.push(read("progress", payload).expect("read"));
            return None;
        }
        let host = AgentChannel::Results.parse_host(subject).expect("a result");
        let result: TeardownResult = read("result", payload).expect("read");
        assert_eq!(result.host_uuid, host);
        let copies = self.copies.entry(result.operation_id).or_default();
        *copies += 1;
        let is_first = *copies == 1;
        let first = self
            .results
            .entry(result.operation_id)
            .or_insert_with(|| result.clone());
        assert_eq!(*first, result, "every copy of a result is identical");
        (!is_first).then(|| {
            to_json(&ResultRecorded {
                recorded: true,
                detail: None,
            })
        })
    }

    fn accept_heartbeat(&mut self, host: HostId, heartbeat: Heartbeat) -> HeartbeatAccepted {
        assert_eq!(heartbeat.host_uuid, host);
        self.heartbeats += 1;
        let newest = self.newest.entry(host.clone()).or_default();
        let number = (heartbeat.boot_id.0, heartbeat.sequence);
        let stale = number < *newest;
        let new_boot = newest.0 != number.0;
        *newest = number.max(*newest);
        let inventory = heartbeat.shards.filter(|_| !stale);
        let send_inventory = new_boot && inventory.is_none();
        if let Some(inventory) = inventory {
            self.inventories.insert(host, inventory.len());
        }
        HeartbeatAccepted {
            accepted: true,
            send_inventory,
            stale,
            other_agent: None,
        }
    }
}

fn accept_enrollment(request: EnrollRequest) -> EnrollAccepted {
    EnrollAccepted {
        accepted: true,
        repeated: false,
        host: HostRecord {
            host_uuid: request.host_uuid.expect("given"),
            name: request.name,
            address: None,
            labels: request.labels.unwrap_or_default(),
            status: HostStatus::Enrolled,
            last_heartbeat: None,
            agent_version: None,
            inventory_error: None,
            shards: 0,
            open_operations: 0,
            enrolled_at: Timestamp::from_millis(0),
            notes: Vec::new(),
            protected: false,
        },
    }
}

fn to_json<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).expect("written")
}
