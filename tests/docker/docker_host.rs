//! The fixture of the Docker tests: one enrolled host with its dockerd and its agent, and the NATS
//! server and controller that it belongs to.

use anyhow::Result;
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::{HostId, OperationId};
use scuttle_tests::programs::process::Process;
use scuttle_tests::{Client, Cluster, Role, wait_until};

use crate::agent::AgentOptions;
use crate::daemon::Daemon;

/// A Compose project that is a decky. It has two services, a network, a named volume and an
/// anonymous volume. Only one of its containers has the label that marks a decky.
pub(crate) const TRAP: &str = "
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
pub(crate) struct DockerHost {
    pub(crate) agent: Process,
    /// The agent's options, kept so that a test can restart the agent.
    pub(crate) plan: AgentOptions,
    pub(crate) daemon: Daemon,
    /// The NATS server, the controller and a client that is connected as the operator.
    pub(crate) cluster: Cluster,
}

impl DockerHost {
    /// Starts a NATS server, a controller and an agent. The agent gets these flags and uses
    /// `daemon`, which is already running.
    pub(crate) async fn start(daemon: Daemon, flags: &[&str]) -> Result<Self> {
        let cluster = Cluster::start().await?;
        let plan = AgentOptions {
            url: cluster.servers[0].url(),
            login: cluster.servers[0].environment(Role::Agents).to_vec(),
            host: cluster.enroll_host("worker-a").await?,
            docker: daemon.host(),
            data_dir: cluster.path("agent"),
            flags: flags.iter().map(ToString::to_string).collect(),
        };
        Ok(Self {
            agent: plan.start()?,
            plan,
            daemon,
            cluster,
        })
    }

    pub(crate) fn host(&self) -> &HostId {
        &self.plan.host
    }

    /// Waits until the record contains exactly these deckies of the host, with their states, for
    /// example `a running, b degraded`.
    pub(crate) async fn wait_for_states(&self, expected: &str) -> Result<()> {
        wait_for_states(&self.cluster.operator, self.host(), expected).await
    }

    /// Requests the teardown of a decky, or of the whole host for `None`. Waits until the agent has
    /// started it, and returns the operation's id.
    pub(crate) async fn start_teardown<'a>(
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

    /// Waits until an operation has ended, and returns its record. The timeout restarts whenever
    /// the record changes.
    pub(crate) async fn wait_for_end(&self, id: OperationId) -> Result<OperationRecord> {
        self.cluster.operator.wait_for_end(id).await
    }

    /// Tears down a decky, or the whole host for `None`, and checks that the operation succeeds.
    pub(crate) async fn tear_down<'a>(
        &self,
        decky: impl Into<Option<&'a str>>,
    ) -> Result<OperationRecord> {
        let id = self.start_teardown(decky).await?;
        self.wait_for_success(id).await
    }

    /// Waits until an operation has ended, and checks that it succeeded. Returns its record.
    pub(crate) async fn wait_for_success(&self, id: OperationId) -> Result<OperationRecord> {
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
pub(crate) async fn wait_for_states(
    operator: &Client,
    host: &HostId,
    expected: &str,
) -> Result<()> {
    let states = || operator.shard_states(host);
    wait_until("the record follows Docker", states, |states| {
        states == expected
    })
    .await?;
    Ok(())
}
