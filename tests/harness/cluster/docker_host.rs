//! One enrolled host with its dockerd and its agent, and the NATS server and controller that it
//! belongs to. The Docker tests and the benchmark use it.

use anyhow::{Context, Result};
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::{HostId, OperationId, subjects};
use serde_json::{Value, json};

use super::Cluster;
use crate::clients::client::Client;
use crate::faults::engine_proxy::EngineProxy;
use crate::programs::agent::AgentOptions;
use crate::programs::process::Process;
use crate::roles::Role;
use crate::servers::dockerd::Daemon;
use crate::wait::wait_until;

/// A Compose project that is a decky. It has two services, a network, a named volume and an
/// anonymous volume. Only one of its containers has the label that marks a decky.
pub const TRAP: &str = "
services:
  ssh:
    image: bait
    command: [sh, -c, \"trap 'exit 0' TERM; sleep 1000 & wait\"]
    labels: { scuttle.managed: 'true' }
    volumes: [ 'lures:/lures', '/anonymous' ]
  http_proxy:
    image: bait
    command: [sh, -c, \"trap 'exit 0' TERM; sleep 1000 & wait\"]
    depends_on: [ssh]
volumes: { lures: {} }
";

/// A host with its dockerd and its agent, and the service that manages it. Dropping this struct
/// ends all processes.
#[derive(Debug)]
pub struct DockerHost {
    pub agent: Process,
    /// The options with which the agent is started, and can be started again.
    pub plan: AgentOptions,
    pub daemon: Daemon,
    /// The NATS server, the controller and a client that is connected as the operator.
    pub cluster: Cluster,
}

impl DockerHost {
    /// Starts a NATS server, a controller and an agent. The agent gets these flags and uses
    /// `daemon`, which already runs.
    pub async fn start(daemon: Daemon, flags: &[&str]) -> Result<Self> {
        let docker = daemon.host();
        Self::start_with(daemon, docker, flags).await
    }

    /// Starts a host as [`start`](Self::start) does, but the agent uses `daemon` through `proxy`.
    pub async fn start_through(
        proxy: &EngineProxy,
        daemon: Daemon,
        flags: &[&str],
    ) -> Result<Self> {
        Self::start_with(daemon, proxy.host(), flags).await
    }

    async fn start_with(daemon: Daemon, docker: String, flags: &[&str]) -> Result<Self> {
        let cluster = Cluster::start().await?;
        let plan = AgentOptions {
            url: cluster.servers[0].url(),
            login: cluster.servers[0].environment(Role::Agents).to_vec(),
            host: cluster.enroll_host("worker-a").await?,
            docker,
            data_dir: cluster.path("agent"),
            flags: flags.iter().map(ToString::to_string).collect(),
            launcher: Vec::new(),
        };
        Ok(Self {
            agent: plan.start()?,
            plan,
            daemon,
            cluster,
        })
    }

    pub fn host(&self) -> &HostId {
        &self.plan.host
    }

    /// Kills the agent (SIGKILL), and starts it again with the same options.
    pub async fn restart_agent(&mut self) -> Result<()> {
        self.agent.kill().await?;
        self.agent = self.plan.start()?;
        Ok(())
    }

    /// Waits until the record contains exactly these deckies of the host, with their states, for
    /// example `a running, b degraded`.
    pub async fn wait_for_states(&self, expected: &str) -> Result<()> {
        wait_for_states(&self.cluster.operator, self.host(), expected).await
    }

    /// Requests the teardown of a decky, or of the whole host for `None`. Waits until the agent has
    /// started it, and returns the operation's id.
    pub async fn start_teardown<'a>(
        &self,
        decky: impl Into<Option<&'a str>>,
    ) -> Result<OperationId> {
        let accepted = self.cluster.operator.tear_down(self.host(), decky).await?;
        let id = accepted.operation_id;
        let running = |operation: &OperationRecord| operation.state != OperationState::Queued;
        let ask = || self.cluster.operator.operation(id);
        wait_until("the agent starts the operation", ask, running).await?;
        Ok(id)
    }

    /// Waits until an operation has ended, as long as it makes progress. Returns its record.
    pub async fn wait_for_end(&self, id: OperationId) -> Result<OperationRecord> {
        self.cluster.operator.wait_for_end(id).await
    }

    /// Requests a teardown with these fields besides the host, and waits until the operation has
    /// ended. Returns the operation's record.
    pub async fn tear_down_with(&self, fields: Value) -> Result<OperationRecord> {
        let mut request = fields;
        request["host_uuid"] = json!(self.host());
        let operator = &self.cluster.operator;
        let accepted: Value = operator.request(subjects::TEARDOWN, &request).await?;
        let id = serde_json::from_value(accepted["operation_id"].clone());
        self.wait_for_end(id.with_context(|| accepted.to_string())?)
            .await
    }

    /// Waits until the controller has applied a further heartbeat of the agent.
    pub async fn wait_for_heartbeat(&self) -> Result<()> {
        let operator = &self.cluster.operator;
        let last = operator.host(self.host()).await?.last_heartbeat;
        let host = || operator.host(self.host());
        wait_until("the agent sends a heartbeat", host, |host| {
            host.last_heartbeat > last
        })
        .await?;
        Ok(())
    }

    /// Waits until the host's record has a note that contains `text`.
    pub async fn wait_for_note(&self, text: &str) -> Result<()> {
        let operator = &self.cluster.operator;
        let request = json!({ "host_uuid": self.host() });
        let notes = || async {
            let reply = operator.request::<Value>(subjects::HOSTS_LIST, &request);
            reply.await.map(|reply| reply["hosts"][0]["notes"].clone())
        };
        let event = format!("the host's notes mention {text}");
        wait_until(&event, notes, |notes| {
            let notes = notes.as_array().into_iter().flatten();
            notes
                .filter_map(Value::as_str)
                .any(|note| note.contains(text))
        })
        .await?;
        Ok(())
    }

    /// Returns the JSON of a decky's shard, including fields that the harness does not know.
    pub async fn find_shard_json(&self, decky: &str) -> Result<Value> {
        let request = json!({ "host_uuid": self.host() });
        let operator = &self.cluster.operator;
        let reply: Value = operator.request(subjects::SHARDS_LIST, &request).await?;
        let mut shards = reply["shards"].as_array().into_iter().flatten();
        let shard = shards.find(|shard| shard["decky_id"] == decky);
        shard.cloned().with_context(|| reply.to_string())
    }

    /// Returns the JSON of an operation, including fields that the harness does not know.
    pub async fn operation_json(&self, id: OperationId) -> Result<Value> {
        let request = json!({ "operation_id": id });
        let operator = &self.cluster.operator;
        let mut reply: Value = operator.request(subjects::OPERATIONS_GET, &request).await?;
        Ok(reply["operation"].take())
    }

    /// Waits until the record of the host has no decky, and checks that nothing of a decky is left
    /// on the host.
    pub async fn check_all_removed(&self) -> Result<()> {
        self.wait_for_states("").await?;
        let containers = self.daemon.containers().await?;
        anyhow::ensure!(containers.is_empty(), "containers: {containers}");
        let networks = self.daemon.networks().await?;
        anyhow::ensure!(networks.is_empty(), "networks: {networks}");
        Ok(())
    }

    /// Tears down a decky, or the whole host for `None`, and checks that the operation succeeds.
    pub async fn tear_down<'a>(
        &self,
        decky: impl Into<Option<&'a str>>,
    ) -> Result<OperationRecord> {
        let id = self.start_teardown(decky).await?;
        self.wait_for_success(id).await
    }

    /// Waits until an operation has ended, and checks that it succeeded. Returns its record.
    pub async fn wait_for_success(&self, id: OperationId) -> Result<OperationRecord> {
        let operation = self.wait_for_end(id).await?;
        anyhow::ensure!(
            operation.state == OperationState::Succeeded,
            "{operation:?}\n{}",
            self.agent.log()
        );
        Ok(operation)
    }
}

/// Waits until the record contains exactly these deckies of `host`, with their states, for example
/// `a running, b degraded`.
pub async fn wait_for_states(operator: &Client, host: &HostId, expected: &str) -> Result<()> {
    let states = || operator.shard_states(host);
    wait_until("the record follows Docker", states, |states| {
        states == expected
    })
    .await?;
    Ok(())
}
