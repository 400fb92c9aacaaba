//! A scripted agent of one host, over a plain NATS connection. The test decides when each report is
//! sent, and which content, boot and sequence the report has.

use anyhow::{Context, Result};
use async_nats::{HeaderMap, Subscriber};
use futures_util::StreamExt;
use scuttle_schemas::agents::{
    AgentCommand, CancelCommand, Heartbeat, HeartbeatAccepted, HeartbeatType, ProgressStep,
    ReportedOutcome, ReportedShard, ReportedState, ResultOutcome, ResultRecorded, ShardResult,
    TeardownCommand, TeardownProgress, TeardownProgressType, TeardownResult, TeardownResultType,
};
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_schemas::{BootId, HostId, OperationId};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::clients::client::{Client, RequestError};
use crate::roles::Role;
use crate::servers::nats::Nats;
use crate::wait::{current_timestamp, with_timeout};

/// The heartbeat interval that the agent announces, in milliseconds. It is long, so that one
/// heartbeat keeps the host `online` for a whole test.
const INTERVAL_MS: u32 = 60_000;

/// A fake agent for one host. The test calls a method for every message that the agent sends.
#[derive(Debug)]
pub struct FakeAgent {
    pub host: HostId,
    /// The id of the current boot.
    pub boot: BootId,
    /// The sequence of the last report, or 0 before the first report of a boot.
    pub sequence: u64,
    /// The interval that the heartbeats announce, in milliseconds.
    pub interval_ms: u32,
    client: Client,
    commands: Subscriber,
    /// The operations for which a command has arrived.
    known: Vec<OperationId>,
}

impl FakeAgent {
    /// Connects as the agent of `host`, with a new boot id. The agent receives all commands that
    /// are sent after the reply to its first heartbeat.
    pub async fn connect(nats: &Nats, host: &HostId) -> Result<Self> {
        let options = nats.connect_options(Role::Agents);
        let options = options.custom_inbox_prefix(subjects::agent_inbox_prefix(host));
        Self::connect_with(Client::connect_with(options, &nats.url()).await?, host).await
    }

    /// Starts the agent of `host` on an existing connection, with a new boot id. The connection
    /// must have the inbox prefix of the host.
    pub async fn connect_with(client: Client, host: &HostId) -> Result<Self> {
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

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Simulates a restart of the agent: later reports have a new boot id, and sequences from 1.
    pub fn reboot(&mut self) {
        self.boot = BootId(Uuid::now_v7());
        self.sequence = 0;
    }

    /// Creates the next heartbeat without sending it. `shards` is its inventory, or `None` for a
    /// heartbeat without an inventory. The test can modify the heartbeat and send it with
    /// [`send`](Self::send).
    pub fn next_heartbeat(&mut self, shards: Option<Vec<ReportedShard>>) -> Heartbeat {
        self.sequence += 1;
        Heartbeat {
            kind: HeartbeatType,
            host_uuid: self.host.clone(),
            agent_version: "fake".into(),
            boot_id: self.boot,
            sequence: self.sequence,
            sent_at: None,
            interval_ms: self.interval_ms,
            page: 1,
            pages: 1,
            shards,
            inventory_error: None,
            notes: Vec::new(),
        }
    }

    /// Creates the heartbeats that report one inventory, one heartbeat for each page. All have the
    /// same sequence. The test sends them with [`send`](Self::send).
    pub fn next_inventory_pages(&mut self, pages: &[&[&str]]) -> Vec<Heartbeat> {
        let heartbeat = self.next_heartbeat(None);
        let count = u32::try_from(pages.len()).expect("the page count fits");
        let page = |(number, deckies): (u32, &&[&str])| Heartbeat {
            page: number,
            pages: count,
            shards: Some(reported_inventory(deckies)),
            ..heartbeat.clone()
        };
        (1..).zip(pages).map(page).collect()
    }

    pub async fn send(&self, heartbeat: &Heartbeat) -> Result<HeartbeatAccepted, RequestError> {
        let subject = AgentChannel::Heartbeat.subject(&self.host);
        self.client.request(&subject, heartbeat).await
    }

    /// Sends the next heartbeat without an inventory.
    pub async fn send_heartbeat(&mut self) -> Result<HeartbeatAccepted, RequestError> {
        let heartbeat = self.next_heartbeat(None);
        self.send(&heartbeat).await
    }

    /// Sends the next heartbeat with an inventory of these deckies, all `running`.
    pub async fn report_inventory(
        &mut self,
        deckies: &[&str],
    ) -> Result<HeartbeatAccepted, RequestError> {
        let heartbeat = self.next_heartbeat(Some(reported_inventory(deckies)));
        self.send(&heartbeat).await
    }

    /// Sends the next heartbeat with an inventory of running deckies, each with its deployment.
    pub async fn report_deployments(
        &mut self,
        deckies: &[(&str, &str)],
    ) -> Result<HeartbeatAccepted, RequestError> {
        let shards = deckies.iter().map(|(decky, deployment)| ReportedShard {
            deployment: Some(deployment.parse().expect("a valid deployment")),
            ..reported_shard(decky)
        });
        let heartbeat = self.next_heartbeat(Some(shards.collect()));
        self.send(&heartbeat).await
    }

    /// Waits for the first teardown command of a new operation, and skips resent commands.
    ///
    /// # Errors
    /// If a cancel command arrives first, or no such command arrives in time.
    pub async fn next_command(&mut self) -> Result<TeardownCommand> {
        loop {
            let known = self.known.len();
            let (command, _) = self.next_delivery().await?;
            if self.known.len() > known {
                return Ok(command);
            }
        }
    }

    /// Waits for the next cancel command, and skips teardown commands.
    pub async fn next_cancel_command(&mut self) -> Result<CancelCommand> {
        let event = format!("a cancel command for {} arrives", self.host);
        loop {
            let message = with_timeout(&event, self.commands.next())
                .await?
                .context("the connection is closed")?;
            if let AgentCommand::Cancel(command) = serde_json::from_slice(&message.payload)? {
                return Ok(command);
            }
        }
    }

    /// Waits for the next teardown command, whether new or resent. Returns the command and its
    /// headers.
    ///
    /// # Errors
    /// If a cancel command arrives first, or no command arrives in time.
    pub async fn next_delivery(&mut self) -> Result<(TeardownCommand, HeaderMap)> {
        let event = format!("a command for {} arrives", self.host);
        let message = with_timeout(&event, self.commands.next())
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

    /// Publishes the progress of an operation.
    pub async fn publish_progress(
        &self,
        operation_id: OperationId,
        step: ProgressStep,
    ) -> Result<()> {
        let progress = TeardownProgress {
            kind: TeardownProgressType,
            operation_id,
            boot_id: self.boot,
            step,
            cancelled: false,
            decky_id: None,
            done: None,
            total: None,
        };
        self.publish(AgentChannel::Progress, &progress).await
    }

    /// Publishes any message on a subject of this agent.
    pub async fn publish(&self, channel: AgentChannel, message: &impl Serialize) -> Result<()> {
        let payload = serde_json::to_vec(message)?;
        let nats = self.client.nats();
        nats.publish(channel.subject(&self.host), payload.into())
            .await?;
        Ok(nats.flush().await?)
    }

    /// Creates the result of an operation that succeeded, without sending it. The test can modify
    /// the result and send it with [`send_result`](Self::send_result).
    pub fn next_success(
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
            started_at: current_timestamp(),
            finished_at: current_timestamp(),
        }
    }

    /// Creates the result of an operation that failed, without sending it. The test can modify the
    /// result and send it with [`send_result`](Self::send_result).
    pub fn next_failure(
        &mut self,
        operation_id: OperationId,
        error: &str,
        shards: Vec<ShardResult>,
    ) -> TeardownResult {
        TeardownResult {
            outcome: ResultOutcome::Failed,
            error: Some(error.into()),
            ..self.next_success(operation_id, shards)
        }
    }

    pub async fn send_result(
        &self,
        result: &TeardownResult,
    ) -> Result<ResultRecorded, RequestError> {
        let subject = AgentChannel::Results.subject(&self.host);
        self.client.request(&subject, result).await
    }

    /// Reports that an operation succeeded and removed these deckies. Checks that the controller
    /// records the result.
    pub async fn report_success(&mut self, operation: OperationId, deckies: &[&str]) -> Result<()> {
        let shards = deckies.iter().map(|decky| removed_shard(decky)).collect();
        let result = self.next_success(operation, shards);
        check_recorded(&self.send_result(&result).await?)
    }

    /// Reports that an operation failed. Checks that the controller records the result.
    pub async fn report_failure(
        &mut self,
        operation: OperationId,
        error: &str,
        shards: Vec<ShardResult>,
    ) -> Result<()> {
        let result = self.next_failure(operation, error, shards);
        check_recorded(&self.send_result(&result).await?)
    }
}

fn check_recorded(reply: &ResultRecorded) -> Result<()> {
    anyhow::ensure!(reply.recorded && reply.detail.is_none(), "{reply:?}");
    Ok(())
}

/// Creates the outcome `removed` for one decky.
pub fn removed_shard(decky: &str) -> ShardResult {
    shard_result(decky, ReportedOutcome::Removed, None)
}

/// Creates the outcome `absent` for one decky.
pub fn absent_shard(decky: &str) -> ShardResult {
    shard_result(decky, ReportedOutcome::Absent, None)
}

/// Creates the outcome `failed` for one decky, with this error.
pub fn failed_shard(decky: &str, error: &str) -> ShardResult {
    shard_result(decky, ReportedOutcome::Failed, Some(error))
}

fn shard_result(decky: &str, outcome: ReportedOutcome, error: Option<&str>) -> ShardResult {
    ShardResult {
        decky_id: decky.parse().expect("a valid decky_id"),
        outcome,
        error: error.map(Into::into),
        evidence: None,
    }
}

/// Creates the entry of one decky in an inventory. The decky is `running`, and has the service
/// `ssh` and an address.
pub fn reported_shard(decky: &str) -> ReportedShard {
    serde_json::from_value(json!({
        "decky_id": decky, "state": ReportedState::Running, "services": ["ssh"], "decky_ip": "10.0.0.7",
    }))
    .expect("a valid decky")
}

/// Creates an inventory of these deckies, all `running`.
pub fn reported_inventory(deckies: &[&str]) -> Vec<ReportedShard> {
    deckies.iter().map(|decky| reported_shard(decky)).collect()
}
