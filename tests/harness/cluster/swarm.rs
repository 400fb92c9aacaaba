//! What nearly every test begins with: a server, a controller and an operator.

use std::path::PathBuf;

use anyhow::Result;
use scuttle_schemas::HostId;
use tempfile::TempDir;

use crate::clients::client::Client;
use crate::clients::fake_agent::FakeAgent;
use crate::programs::controller::Controller;
use crate::roles::Role;
use crate::servers::nats::Nats;

/// A whole swarm of one test. Dropping it ends its processes and removes its files.
#[derive(Debug)]
pub struct Swarm {
    /// An operator.
    pub operator: Client,
    /// The controller.
    pub controller: Controller,
    /// The server.
    pub nats: Nats,
    dir: TempDir,
}

impl Swarm {
    /// Starts a server and a controller, and waits until an operator is answered.
    ///
    /// # Errors
    /// One of them does not start.
    pub async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// The same, with more settings for the controller.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_with(settings: &[(&'static str, &str)]) -> Result<Self> {
        let nats = Nats::start().await?;
        let dir = tempfile::tempdir()?;
        let mut environment = Vec::from(nats.environment(Role::Controller));
        environment.extend(
            settings
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        let data = dir.path().join("controller");
        let controller = Controller::start_at(&nats.url(), environment, &data)?;
        let operator = Client::connect(&nats, Role::Operator).await?;
        operator.answered().await?;
        Ok(Self {
            operator,
            controller,
            nats,
            dir,
        })
    }

    /// A path of this test's own.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Enrols a host.
    ///
    /// # Errors
    /// It is refused.
    pub async fn host(&self, name: &str) -> Result<HostId> {
        Ok(self.operator.enroll(name).await?.host.host_uuid)
    }

    /// Enrols a host and starts its agent, which has reported these deckies, all `running`.
    ///
    /// # Errors
    /// The host or the report is refused.
    pub async fn agent(&self, name: &str, deckies: &[&str]) -> Result<FakeAgent> {
        let mut agent = FakeAgent::connect(&self.nats, &self.host(name).await?).await?;
        agent.report(deckies).await?;
        Ok(agent)
    }

    /// Kills the controller (SIGKILL), starts it again on the same data directory, and waits until it
    /// answers.
    ///
    /// # Errors
    /// It does not come back.
    pub async fn crash_controller(&mut self) -> Result<()> {
        self.controller.restart().await?;
        self.operator.answered().await
    }
}
