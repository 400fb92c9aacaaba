//! A real nats-server, and on it a controller that only listens, answers and sends what it is told.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Message;
use futures_util::StreamExt;
use scuttle_agent::Link;
use scuttle_nats::{ConnectConfig, Credentials, Tls};
use scuttle_schemas::agents::{
    AgentCommand, Heartbeat, HeartbeatAccepted, ResultRecorded, TeardownCommand, TeardownProgress,
    TeardownResult,
};
use scuttle_schemas::hosts::{EnrollAccepted, EnrollRequest, HostRecord, HostStatus};
use scuttle_schemas::subjects::{AgentChannel, HOSTS_ENROLL};
use scuttle_schemas::{HostId, OperationId, Timestamp, read};
use serde::Serialize;
use tokio::sync::watch;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

/// A nats-server of this test's own.
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

    /// Kills it and starts another at the same port.
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

/// What the controller has heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// The deckies of each host, by its last inventory.
    pub inventories: BTreeMap<HostId, usize>,
    pub heartbeats: usize,
    pub progress: Vec<TeardownProgress>,
    pub results: BTreeMap<OperationId, TeardownResult>,
    /// How often each result came.
    pub copies: BTreeMap<OperationId, usize>,
    newest: BTreeMap<HostId, (Uuid, u64)>,
}

/// How anybody connects to a server that asks nobody who he is.
pub(crate) fn access(server: &Server) -> ConnectConfig {
    ConnectConfig {
        url: server.url(),
        credentials: Credentials::Anonymous,
        tls: Tls::default(),
    }
}

/// Answers everything; the first copy of each result it hears and forgets to answer.
pub(crate) struct Controller {
    pub link: Link,
    heard: Arc<Mutex<Heard>>,
    changes: watch::Receiver<u64>,
    epoch: u64,
}

impl Controller {
    pub(crate) async fn start(server: &Server) -> Self {
        let link = Link::connect("test", &access(server), None)
            .await
            .expect("connected");
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (count, changes) = watch::channel(0);
        let mut messages = futures_util::stream::select_all([
            link.client()
                .subscribe(HOSTS_ENROLL)
                .await
                .expect("subscribed"),
            link.client()
                .subscribe(AgentChannel::Heartbeat.wildcard_subject())
                .await
                .expect("subscribed"),
            link.client()
                .subscribe(AgentChannel::Results.wildcard_subject())
                .await
                .expect("subscribed"),
            link.client()
                .subscribe(AgentChannel::Progress.wildcard_subject())
                .await
                .expect("subscribed"),
        ]);
        let (client, record) = (link.client().clone(), heard.clone());
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let answer = record
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .hear(&message);
                if let (Some(answer), Some(reply)) = (answer, message.reply) {
                    client
                        .publish(reply, answer.into())
                        .await
                        .expect("published");
                }
                count.send_modify(|count| *count += 1);
            }
        });
        Self {
            link,
            heard,
            changes,
            epoch: 1,
        }
    }

    /// Waits until what was heard is so.
    pub(crate) async fn until(&mut self, what: &str, so: impl Fn(&Heard) -> bool) {
        let heard = self.heard.clone();
        let so = |_: &u64| so(&heard.lock().unwrap_or_else(PoisonError::into_inner));
        let waited = tokio::time::timeout(PATIENCE, self.changes.wait_for(so)).await;
        assert!(
            waited.is_ok(),
            "waited in vain until {what}: {:#?}",
            self.heard
        );
    }

    pub(crate) fn heard<T>(&self, look: impl Fn(&Heard) -> T) -> T {
        look(&self.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends the command of a new operation on a whole host.
    pub(crate) async fn tear_down(&self, host: &HostId) -> OperationId {
        let operation_id = OperationId(Uuid::now_v7());
        self.send(host, operation_id).await;
        operation_id
    }

    /// Sends the command of an operation, again or for the first time.
    pub(crate) async fn send(&self, host: &HostId, operation_id: OperationId) {
        let command = AgentCommand::Teardown(TeardownCommand {
            operation_id,
            host_uuid: host.clone(),
            decky_id: None,
            attempt: 1,
            controller_epoch: self.epoch,
            not_after: Timestamp::from_millis(4_000_000_000_000),
        });
        self.publish(host, json(&command)).await;
    }

    /// Sends bytes to an agent.
    pub(crate) async fn publish(&self, host: &HostId, payload: Vec<u8>) {
        let subject = AgentChannel::Commands.subject(host);
        self.link
            .client()
            .publish(subject, payload.into())
            .await
            .expect("published");
    }
}

impl Heard {
    fn hear(&mut self, message: &Message) -> Option<Vec<u8>> {
        let (subject, payload) = (message.subject.as_str(), &message.payload);
        if subject == HOSTS_ENROLL {
            return Some(json(&enrolled(read("enrolment", payload).expect("read"))));
        }
        if let Some(host) = AgentChannel::Heartbeat.parse_host(subject) {
            return Some(json(
                &self.heartbeat(host, read("heartbeat", payload).expect("read")),
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
        let first = *copies == 1;
        let kept = self
            .results
            .entry(result.operation_id)
            .or_insert_with(|| result.clone());
        assert_eq!(*kept, result, "every copy of a result is the same");
        (!first).then(|| {
            json(&ResultRecorded {
                recorded: true,
                detail: None,
            })
        })
    }

    fn heartbeat(&mut self, host: HostId, heartbeat: Heartbeat) -> HeartbeatAccepted {
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
        }
    }
}

fn enrolled(request: EnrollRequest) -> EnrollAccepted {
    EnrollAccepted {
        accepted: true,
        repeated: false,
        host: HostRecord {
            host_uuid: request.host_uuid.expect("given"),
            name: request.name,
            address: None,
            labels: request.labels,
            status: HostStatus::Enrolled,
            last_heartbeat: None,
            agent_version: None,
            inventory_error: None,
            shards: 0,
            open_operations: 0,
            enrolled_at: Timestamp::from_millis(0),
        },
    }
}

fn json<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).expect("written")
}
