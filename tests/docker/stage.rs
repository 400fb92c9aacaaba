//! What every test here begins with: a cluster with one host, its dockerd and its agent.

use anyhow::Result;
use scuttle_schemas::operations::{OperationRecord, OperationState};
use scuttle_schemas::{HostId, OperationId};
use scuttle_tests::programs::process::Process;
use scuttle_tests::{Client, Cluster, Role, wait_until};

use crate::agent::Plan;
use crate::daemon::Daemon;

/// Two services of one project, with all that Compose makes: a network, a named volume, an anonymous one. One
/// container has the label.
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

/// A host of a cluster. Dropping it ends everything.
#[derive(Debug)]
pub(crate) struct Stage {
    /// Its agent.
    pub(crate) agent: Process,
    /// How that was started.
    pub(crate) plan: Plan,
    /// Its Docker.
    pub(crate) daemon: Daemon,
    /// The rest.
    pub(crate) cluster: Cluster,
}

impl Stage {
    /// Starts all but the daemon, on which something runs already; the agent with these flags.
    ///
    /// # Errors
    /// Something does not start.
    pub(crate) async fn on(daemon: Daemon, flags: &[&str]) -> Result<Self> {
        let cluster = Cluster::start().await?;
        let plan = Plan {
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

    /// The host.
    pub(crate) fn host(&self) -> &HostId {
        &self.plan.host
    }

    /// Waits until the record says this of the host's deckies: `a running, b degraded`.
    ///
    /// # Errors
    /// It does not.
    pub(crate) async fn states(&self, expected: &str) -> Result<()> {
        states(&self.cluster.operator, self.host(), expected).await
    }

    /// Asks for a teardown, and waits until the agent is at it.
    ///
    /// # Errors
    /// It is refused, or not begun.
    pub(crate) async fn begin<'a>(&self, decky: impl Into<Option<&'a str>>) -> Result<OperationId> {
        let accepted = self.cluster.operator.tear_down(self.host(), decky).await?;
        let id = accepted.operation_id;
        let running = |operation: &OperationRecord| operation.state != OperationState::Queued;
        let ask = || self.cluster.operator.operation(id);
        wait_until("the agent begins", ask, running).await?;
        Ok(id)
    }

    /// Waits until an operation has ended, as long as it goes on.
    ///
    /// # Errors
    /// It does not.
    pub(crate) async fn ended(&self, id: OperationId) -> Result<OperationRecord> {
        self.cluster.operator.wait_for_end(id).await
    }

    /// Tears down, which must succeed.
    ///
    /// # Errors
    /// It does not.
    pub(crate) async fn teardown<'a>(
        &self,
        decky: impl Into<Option<&'a str>>,
    ) -> Result<OperationRecord> {
        let id = self.begin(decky).await?;
        self.succeeded(id).await
    }

    /// Waits until an operation has ended, which must have succeeded.
    ///
    /// # Errors
    /// It does not.
    pub(crate) async fn succeeded(&self, id: OperationId) -> Result<OperationRecord> {
        let operation = self.ended(id).await?;
        anyhow::ensure!(
            operation.state == OperationState::Succeeded,
            "{operation:?}\n{}",
            self.agent.log()
        );
        Ok(operation)
    }
}

/// Waits until the record says this of a host's deckies: `a running, b degraded`.
///
/// # Errors
/// It does not.
pub(crate) async fn states(operator: &Client, host: &HostId, expected: &str) -> Result<()> {
    let states = || operator.shard_states(host);
    wait_until("the record follows Docker", states, |states| {
        states == expected
    })
    .await?;
    Ok(())
}
