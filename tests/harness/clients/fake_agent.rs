//! A scripted agent over raw NATS for one host. It does nothing by itself: a test says what it reports,
//! when, and with which boot and sequence.

use anyhow::{Context, Result};
use async_nats::{HeaderMap, Subscriber};
use futures_util::StreamExt;
use scuttle_schemas::agents::{
    AgentCommand, CancelCommand, Heartbeat, HeartbeatAccepted, HeartbeatType, ProgressStep,
    ReportedOutcome, ReportedShard, ReportedState, ResultOutcome, ResultRecorded, ShardResult,
    TeardownCommand, TeardownProgress, TeardownProgressType, TeardownResult, TeardownResultType,
};
use scuttle_schemas::subjects::AgentChannel;
use scuttle_schemas::{BootId, HostId, OperationId};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::clients::client::{AskError, Client};
use crate::roles::Role;
use crate::servers::nats::Nats;
use crate::wait::{now, within};

/// Milliseconds between the heartbeats that it promises: long, so that it stays `online` for a whole test
/// on one heartbeat.
const INTERVAL_MS: u32 = 60_000;

/// The agent of one host.
#[derive(Debug)]
pub struct FakeAgent {
    /// Its host.
    pub host: HostId,
    /// Its boot.
    pub boot: BootId,
    /// The number of its last observation.
    pub sequence: u64,
    /// What it promises in its heartbeats.
    pub interval_ms: u32,
    client: Client,
    commands: Subscriber,
    known: Vec<OperationId>,
}

impl FakeAgent {
    /// Connects, with a boot of its own. It gets commands for certain once a heartbeat was answered.
    ///
    /// # Errors
    /// The server is away or refuses.
    pub async fn connect(nats: &Nats, host: &HostId) -> Result<Self> {
        Self::over(Client::connect(nats, Role::Agents).await?, host).await
    }

    /// The same over a connection that is there.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn over(client: Client, host: &HostId) -> Result<Self> {
        let commands = client
            .nats()
            .subscribe(AgentChannel::Commands.subject(host))
            .await?;
        Ok(Self {
            host: host.clone(),
            boot: BootId(Uuid::now_v7()),
            sequence: 0,
            interval_ms: INTERVAL_MS,
            client,
            commands,
            known: Vec::new(),
        })
    }

    /// Its connection.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Starts anew: a later boot, sequences from one.
    pub fn reboot(&mut self) {
        self.boot = BootId(Uuid::now_v7());
        self.sequence = 0;
    }

    /// The next heartbeat, with this inventory or none: to be changed, and sent now or later.
    pub fn observe(&mut self, shards: Option<Vec<ReportedShard>>) -> Heartbeat {
        self.sequence += 1;
        Heartbeat {
            kind: HeartbeatType,
            host_uuid: self.host.clone(),
            agent_version: "fake".into(),
            boot_id: self.boot,
            sequence: self.sequence,
            interval_ms: self.interval_ms,
            page: 1,
            pages: 1,
            shards,
            inventory_error: None,
        }
    }

    /// One inventory in as many heartbeats as it has pages, which share one sequence.
    pub fn observe_pages(&mut self, pages: &[&[&str]]) -> Vec<Heartbeat> {
        let whole = self.observe(None);
        let count = u32::try_from(pages.len()).expect("a few pages");
        let page = |(number, deckies): (u32, &&[&str])| Heartbeat {
            page: number,
            pages: count,
            shards: Some(inventory(deckies)),
            ..whole.clone()
        };
        (1..).zip(pages).map(page).collect()
    }

    /// Sends a heartbeat as it is.
    ///
    /// # Errors
    /// It was refused or not answered.
    pub async fn send(&self, heartbeat: &Heartbeat) -> Result<HeartbeatAccepted, AskError> {
        let subject = AgentChannel::Heartbeat.subject(&self.host);
        self.client.ask(&subject, heartbeat).await
    }

    /// Sends a heartbeat without an inventory.
    ///
    /// # Errors
    /// As `send`.
    pub async fn beat(&mut self) -> Result<HeartbeatAccepted, AskError> {
        let heartbeat = self.observe(None);
        self.send(&heartbeat).await
    }

    /// Sends a heartbeat with an inventory: these deckies, all `running`.
    ///
    /// # Errors
    /// As `send`.
    pub async fn report(&mut self, deckies: &[&str]) -> Result<HeartbeatAccepted, AskError> {
        let heartbeat = self.observe(Some(inventory(deckies)));
        self.send(&heartbeat).await
    }

    /// The next command for an operation of which it has had none yet; repeats are passed over.
    ///
    /// # Errors
    /// None comes.
    pub async fn command(&mut self) -> Result<TeardownCommand> {
        loop {
            let known = self.known.len();
            let (command, _) = self.delivery().await?;
            if self.known.len() > known {
                return Ok(command);
            }
        }
    }

    /// The next withdrawal; commands to tear down are passed over.
    ///
    /// # Errors
    /// None comes, or something comes that breaks the protocol.
    pub async fn withdrawal(&mut self) -> Result<CancelCommand> {
        let what = format!("a withdrawal for {}", self.host);
        loop {
            let message = within(&what, self.commands.next())
                .await?
                .context("the connection is closed")?;
            if let AgentCommand::Cancel(command) = serde_json::from_slice(&message.payload)? {
                return Ok(command);
            }
        }
    }

    /// The next command, repeated or not, with its headers.
    ///
    /// # Errors
    /// None comes, or it breaks the protocol.
    pub async fn delivery(&mut self) -> Result<(TeardownCommand, HeaderMap)> {
        let what = format!("a command for {}", self.host);
        let message = within(&what, self.commands.next())
            .await?
            .context("the connection is closed")?;
        let text = String::from_utf8_lossy(&message.payload).into_owned();
        let AgentCommand::Teardown(command) =
            serde_json::from_slice(&message.payload).context(text)?
        else {
            anyhow::bail!("not a teardown command: {:?}", message.payload)
        };
        if !self.known.contains(&command.operation_id) {
            self.known.push(command.operation_id);
        }
        Ok((command, message.headers.unwrap_or_default()))
    }

    /// Says how far it is.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn progress(&self, operation_id: OperationId, step: ProgressStep) -> Result<()> {
        let progress = TeardownProgress {
            kind: TeardownProgressType,
            operation_id,
            boot_id: self.boot,
            step,
            decky_id: None,
            done: None,
            total: None,
        };
        self.publish(AgentChannel::Progress, &progress).await
    }

    /// Publishes anything on one of its channels.
    ///
    /// # Errors
    /// The connection is closed.
    pub async fn publish(&self, channel: AgentChannel, message: &impl Serialize) -> Result<()> {
        let payload = serde_json::to_vec(message)?;
        let nats = self.client.nats();
        nats.publish(channel.subject(&self.host), payload.into())
            .await?;
        Ok(nats.flush().await?)
    }

    /// The result of an operation that succeeded, to be changed, and sent now or later.
    pub fn result(
        &mut self,
        operation_id: OperationId,
        shards: Vec<ShardResult>,
    ) -> TeardownResult {
        self.sequence += 1;
        TeardownResult {
            kind: TeardownResultType,
            operation_id,
            host_uuid: self.host.clone(),
            boot_id: self.boot,
            sequence: self.sequence,
            outcome: ResultOutcome::Succeeded,
            error: None,
            shards,
            started_at: now(),
            finished_at: now(),
        }
    }

    /// The same for one that failed.
    pub fn failure(
        &mut self,
        operation_id: OperationId,
        error: &str,
        shards: Vec<ShardResult>,
    ) -> TeardownResult {
        TeardownResult {
            outcome: ResultOutcome::Failed,
            error: Some(error.into()),
            ..self.result(operation_id, shards)
        }
    }

    /// Sends a result as it is.
    ///
    /// # Errors
    /// It was refused or not answered.
    pub async fn conclude(&self, result: &TeardownResult) -> Result<ResultRecorded, AskError> {
        let subject = AgentChannel::Results.subject(&self.host);
        self.client.ask(&subject, result).await
    }

    /// Reports success for these deckies, and checks that it is recorded.
    ///
    /// # Errors
    /// It is not.
    pub async fn succeed(&mut self, operation: OperationId, deckies: &[&str]) -> Result<()> {
        let shards = deckies.iter().map(|decky| removed(decky)).collect();
        let result = self.result(operation, shards);
        recorded(&self.conclude(&result).await?)
    }

    /// Reports failure, and checks that it is recorded.
    ///
    /// # Errors
    /// It is not.
    pub async fn fail(
        &mut self,
        operation: OperationId,
        error: &str,
        shards: Vec<ShardResult>,
    ) -> Result<()> {
        let result = self.failure(operation, error, shards);
        recorded(&self.conclude(&result).await?)
    }
}

fn recorded(answer: &ResultRecorded) -> Result<()> {
    anyhow::ensure!(answer.recorded && answer.detail.is_none(), "{answer:?}");
    Ok(())
}

/// `removed`, of one decky.
pub fn removed(decky: &str) -> ShardResult {
    shard_result(decky, ReportedOutcome::Removed, None)
}

/// `absent`, of one decky.
pub fn absent(decky: &str) -> ShardResult {
    shard_result(decky, ReportedOutcome::Absent, None)
}

/// `failed`, of one decky, and why.
pub fn failed(decky: &str, error: &str) -> ShardResult {
    shard_result(decky, ReportedOutcome::Failed, Some(error))
}

fn shard_result(decky: &str, outcome: ReportedOutcome, error: Option<&str>) -> ShardResult {
    ShardResult {
        decky_id: decky.parse().expect("a valid decky_id"),
        outcome,
        error: error.map(Into::into),
    }
}

/// One decky of an inventory: `running`, with `ssh` and an address.
pub fn reported(decky: &str) -> ReportedShard {
    serde_json::from_value(json!({
        "decky_id": decky, "state": ReportedState::Running, "services": ["ssh"], "decky_ip": "10.0.0.7",
    }))
    .expect("a valid decky")
}

/// An inventory: these deckies, all `running`.
pub fn inventory(deckies: &[&str]) -> Vec<ReportedShard> {
    deckies.iter().map(|decky| reported(decky)).collect()
}
