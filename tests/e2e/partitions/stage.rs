//! What these tests begin with: a server, controllers that share the hosts, and an operator.

use std::path::PathBuf;

use anyhow::Result;
use async_nats::jetstream::{self, Context};
use scuttle_schemas::{HostId, Partition, PartitionCount, subjects};
use scuttle_tests::{Client, Controller, FakeAgent, Http, Nats, Role, until};
use tempfile::TempDir;

/// How many partitions.
pub(crate) const PARTITIONS: u8 = 4;

/// Dropping it ends its processes and removes its files.
pub(crate) struct Stage {
    pub(crate) operator: Client,
    pub(crate) controllers: Vec<Controller>,
    pub(crate) nats: Nats,
    dir: TempDir,
}

/// How many partitions there are.
pub(crate) fn of() -> PartitionCount {
    PartitionCount::new(PARTITIONS).expect("as many as there can be")
}

impl Stage {
    /// Starts everything, and waits until every partition is led.
    pub(crate) async fn start(controllers: usize) -> Result<Self> {
        let mut stage = Self::bare().await?;
        for _ in 0..controllers {
            stage.join()?;
        }
        stage.settled().await?;
        Ok(stage)
    }

    /// Starts everything but controllers.
    pub(crate) async fn bare() -> Result<Self> {
        let nats = Nats::start().await?;
        Ok(Self {
            operator: Client::connect(&nats, Role::Operator).await?,
            nats,
            controllers: Vec::new(),
            dir: tempfile::tempdir()?,
        })
    }

    /// Starts one more controller.
    pub(crate) fn join(&mut self) -> Result<()> {
        let number = self.controllers.len();
        let controller = self.controller(&format!("controller-{number}"), PARTITIONS)?;
        self.controllers.push(controller);
        Ok(())
    }

    /// Starts a controller with so many partitions.
    pub(crate) fn controller(&self, name: &str, partitions: u8) -> Result<Controller> {
        let mut environment = Vec::from(self.nats.environment(Role::Controller));
        for (name, value) in [
            ("SCUTTLE_STORE", "jetstream"),
            ("SCUTTLE_REPLICAS", "1"),
            ("SCUTTLE_PARTITIONS", &partitions.to_string()),
            ("SCUTTLE_HTTP", "127.0.0.1:0"),
        ] {
            environment.push((name, value.to_owned()));
        }
        Controller::start_at(&self.nats.url(), environment, &self.path(name))
    }

    /// What a controller may do with `JetStream`.
    pub(crate) async fn context(&self) -> Result<Context> {
        let options = self.nats.options(Role::Controller);
        let options = options.custom_inbox_prefix(subjects::CONTROLLER_INBOX_PREFIX);
        let controller = Client::with(options, &self.nats.url()).await?;
        Ok(jetstream::new(controller.nats().clone()))
    }

    /// A path of this test's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Waits until each controller leads so many partitions, and each partition is led.
    pub(crate) async fn balanced(&mut self, wanted: &[f64]) -> Result<()> {
        let mut doors = Vec::new();
        for controller in &mut self.controllers {
            doors.push(Http::of(controller.process()).await?);
        }
        let look = || async {
            let mut led = Vec::new();
            for http in &doors {
                led.push(http.metrics().await?.value("scuttle_partitions_led")?);
            }
            anyhow::Ok(led)
        };
        until("they are spread evenly", look, |led| led == wanted).await?;
        self.settled().await
    }

    /// Waits until a list is answered, which takes the leader of each partition.
    pub(crate) async fn settled(&self) -> Result<()> {
        let ask = || self.operator.shards();
        until("each partition is led", ask, |_| true).await?;
        Ok(())
    }

    /// A host of this partition, enrolled with an id of its own choice, and its agent, which has reported these deckies.
    pub(crate) async fn agent(&self, host: &HostId, deckies: &[&str]) -> Result<FakeAgent> {
        let request = serde_json::json!({ "name": format!("of-{host}"), "host_uuid": host });
        let subject = subjects::HOSTS_ENROLL;
        let _: serde_json::Value = self.operator.ask(subject, &request).await?;
        let mut agent = FakeAgent::connect(&self.nats, host).await?;
        agent.report(deckies).await?;
        Ok(agent)
    }
}

/// Ids of hosts of this partition.
pub(crate) fn hosts_of(partition: Partition) -> impl Iterator<Item = HostId> {
    let hosts = (0..).map(|number| format!("host-{number:03}").parse().expect("valid"));
    hosts.filter(move |host| of().partition_of_host(host) == partition)
}

/// A host of each partition.
pub(crate) fn one_of_each() -> Vec<HostId> {
    let partitions = of().iter();
    partitions
        .filter_map(|partition| hosts_of(partition).next())
        .collect()
}
