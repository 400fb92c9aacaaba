//! The environment of one test: nats-servers and controllers that are started together, and the
//! connection of an operator.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use scuttle_schemas::{HostId, subjects};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clients::client::Client;
use crate::clients::fake_agent::FakeAgent;
use crate::faults::proxy::{InFlight, Proxy};
use crate::programs::controller::Controller;
use crate::programs::simulator::Simulator;
use crate::roles::{Passwords, Role};
use crate::servers::nats::Nats;
use crate::servers::nats_cluster;
use crate::wait::wait_until;

pub mod docker_host;
mod leadership;
pub mod provisioned_server;

/// nats-servers, controllers and an operator. Dropping the cluster kills the processes and, unless
/// [`keep_files_in`](ClusterBuilder::keep_files_in) was used, removes their files.
///
/// By default, a cluster has one server, and one controller with a local store:
///
/// ```no_run
/// # use scuttle_tests::{Cluster, TestResult};
/// # async fn start() -> TestResult {
/// let small = Cluster::start().await?;
/// let large = Cluster::builder().servers(3).controllers(3).partitions(4).proxied().start().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Cluster {
    /// A connection as an operator.
    pub operator: Client,
    /// The controllers, in the order of their starts.
    pub controllers: Vec<Controller>,
    /// The proxies, one between each controller and the servers. Empty unless the cluster is
    /// [`proxied`](ClusterBuilder::proxied).
    pub proxies: Vec<Proxy>,
    pub servers: Vec<Nats>,
    options: ClusterBuilder,
    dir: PathBuf,
    /// The directory of all files, if it is temporary. Dropping this field removes the directory.
    _temporary: Option<TempDir>,
}

/// The options of a [`Cluster`].
#[must_use = "nothing starts before `start` is called"]
#[derive(Debug, Clone)]
pub struct ClusterBuilder {
    servers: usize,
    controllers: usize,
    partitions: Option<u8>,
    proxies: Option<InFlight>,
    settings: Vec<(&'static str, String)>,
    nats_conf: fn(&str) -> String,
    dir: Option<PathBuf>,
}

impl Default for ClusterBuilder {
    fn default() -> Self {
        Self {
            servers: 1,
            controllers: 1,
            partitions: None,
            proxies: None,
            settings: Vec::new(),
            nats_conf: str::to_owned,
            dir: None,
        }
    }
}

impl ClusterBuilder {
    /// Sets the number of nats-servers: 1 (with `nats.conf`) or 3 (with `nats-cluster.conf`). With
    /// 3 servers, the controllers keep their journals in `JetStream`.
    pub fn servers(self, servers: usize) -> Self {
        Self { servers, ..self }
    }

    /// Sets the number of controllers. With any number except 1, the controllers keep their
    /// journals in `JetStream`.
    pub fn controllers(self, controllers: usize) -> Self {
        Self {
            controllers,
            ..self
        }
    }

    /// Divides the hosts into this number of partitions. The controllers keep a journal for each
    /// partition in `JetStream`.
    pub fn partitions(self, partitions: u8) -> Self {
        let partitions = Some(partitions);
        Self { partitions, ..self }
    }

    /// Puts a proxy between each controller and the servers. When one side closes its connection,
    /// the proxy still delivers the bytes in flight.
    pub fn proxied(self) -> Self {
        self.proxied_with(InFlight::Delivered)
    }

    /// Puts a proxy between each controller and the servers. `in_flight` decides whether the bytes
    /// in flight still arrive after one side has closed its connection.
    pub fn proxied_with(self, in_flight: InFlight) -> Self {
        let proxies = Some(in_flight);
        Self { proxies, ..self }
    }

    /// Sets an environment variable of all controllers.
    pub fn setting(mut self, name: &'static str, value: &str) -> Self {
        self.settings.push((name, value.to_owned()));
        self
    }

    /// Sets environment variables of all controllers.
    pub fn settings(self, settings: &[(&'static str, &str)]) -> Self {
        settings
            .iter()
            .fold(self, |builder, (name, value)| builder.setting(name, value))
    }

    /// Sets the function that edits the text of `nats.conf` before the servers start.
    pub fn nats_conf(self, edit: fn(&str) -> String) -> Self {
        Self {
            nats_conf: edit,
            ..self
        }
    }

    /// Puts all files into `dir` instead of a temporary directory, and does not remove them.
    pub fn keep_files_in(self, dir: &Path) -> Self {
        let dir = Some(dir.to_owned());
        Self { dir, ..self }
    }

    /// Starts the servers and controllers, and waits until the controllers are ready: each
    /// partition has a leader, and the operator gets replies.
    pub async fn start(self) -> Result<Cluster> {
        let (dir, temporary) = if let Some(dir) = &self.dir {
            (dir.clone(), None)
        } else {
            let temporary = tempfile::tempdir().context("create a directory")?;
            (temporary.path().to_owned(), Some(temporary))
        };
        let nats_dir = dir.join("nats");
        let servers = match self.servers {
            1 => vec![Nats::start_in(&nats_dir, self.nats_conf).await?],
            _ => nats_cluster::start(&nats_dir, self.nats_conf).await?,
        };
        let operator = connect(&servers, Role::Operator).await?;
        let mut cluster = Cluster {
            operator,
            controllers: Vec::new(),
            proxies: Vec::new(),
            servers,
            options: self,
            dir,
            _temporary: temporary,
        };
        for _ in 0..cluster.options.controllers {
            cluster.add_controller().await?;
        }
        if cluster.options.controllers > 0 {
            cluster.wait_until_ready().await?;
        }
        Ok(cluster)
    }
}

impl Cluster {
    /// Returns a builder with the default options.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder::default()
    }

    /// Starts a cluster with the default options: one server, and one controller with a local
    /// store.
    pub async fn start() -> Result<Self> {
        Self::builder().start().await
    }

    /// Starts one more controller with the cluster's options. Does not wait until the controller is
    /// ready.
    pub async fn add_controller(&mut self) -> Result<()> {
        let number = self.controllers.len();
        let url = match self.options.proxies {
            Some(in_flight) => {
                let ports: Vec<_> = self.servers.iter().map(Nats::port).collect();
                let proxy = Proxy::start(&ports, in_flight).await?;
                let url = proxy.url();
                self.proxies.push(proxy);
                url
            }
            None => self.url(),
        };
        let environment = self.controller_environment();
        let controller = Controller::start(&url, environment, &self.data_dir(number))?;
        self.controllers.push(controller);
        Ok(())
    }

    /// Returns the environment variables of the controllers: their credentials and settings.
    pub fn controller_environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = Vec::from(self.passwords().environment(Role::Controller));
        if self.has_shared_journal() {
            environment.push(("SCUTTLE_STORE", "jetstream".to_owned()));
            environment.push(("SCUTTLE_REPLICAS", self.options.servers.to_string()));
            environment.push(("SCUTTLE_HTTP", "127.0.0.1:0".to_owned()));
        }
        if let Some(partitions) = self.options.partitions {
            environment.push(("SCUTTLE_PARTITIONS", partitions.to_string()));
        }
        environment.extend(self.options.settings.iter().cloned());
        environment
    }

    /// Returns whether the controllers keep their journals in `JetStream`, where several
    /// controllers can share them.
    fn has_shared_journal(&self) -> bool {
        self.options.servers > 1
            || self.options.controllers != 1
            || self.options.partitions.is_some()
    }

    /// Returns the data directory of the controller with this number.
    pub fn data_dir(&self, number: usize) -> PathBuf {
        if self.has_shared_journal() {
            self.path(&format!("controller-{number}"))
        } else {
            self.path("controller")
        }
    }

    /// Returns the path of `name` in the cluster's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Returns the URLs of all servers, separated by commas.
    pub fn url(&self) -> String {
        join_urls(&self.servers)
    }

    /// Returns the passwords of all users, which are the same on all servers.
    pub fn passwords(&self) -> &Passwords {
        self.servers[0].passwords()
    }

    /// Connects to any of the servers as `role`.
    pub async fn connect(&self, role: Role) -> Result<Client> {
        connect(&self.servers, role).await
    }

    /// Waits until all three servers are running and have formed a cluster again.
    pub async fn wait_until_formed(&self) -> Result<()> {
        nats_cluster::wait_until_formed(&self.servers).await
    }

    /// Waits until `stream` has a leader. Returns the number of the server that leads the stream.
    pub async fn wait_for_stream_leader(&self, stream: &str) -> Result<usize> {
        let monitors = nats_cluster::list_monitors(&self.servers);
        let find = || nats_cluster::find_stream_leader(&monitors, stream);
        wait_until("the stream has a leader", find, |_| true).await
    }

    /// Enrolls a host with this name, and returns the id that the controller generated.
    pub async fn enroll_host(&self, name: &str) -> Result<HostId> {
        Ok(self.operator.enroll(name).await?.host.host_uuid)
    }

    /// Enrolls a host with this name and starts its agent, which reports an inventory of `deckies`,
    /// all `running`.
    pub async fn start_agent(&self, name: &str, deckies: &[&str]) -> Result<FakeAgent> {
        let host = self.enroll_host(name).await?;
        self.start_agent_of(&host, deckies).await
    }

    /// Enrolls a host with this id, which determines its partition, and starts its agent. The agent
    /// reports an inventory of `deckies`, all `running`.
    pub async fn start_agent_with_id(&self, host: &HostId, deckies: &[&str]) -> Result<FakeAgent> {
        let request = json!({ "name": format!("of-{host}"), "host_uuid": host });
        let subject = subjects::HOSTS_ENROLL;
        let _: Value = self.operator.request(subject, &request).await?;
        self.start_agent_of(host, deckies).await
    }

    async fn start_agent_of(&self, host: &HostId, deckies: &[&str]) -> Result<FakeAgent> {
        let options = self.servers[0].connect_options(Role::Agents);
        let options = options.custom_inbox_prefix(subjects::agent_inbox_prefix(host));
        let client = Client::connect_with(options, &join_urls(&self.servers)).await?;
        let mut agent = FakeAgent::connect_with(client, host).await?;
        agent.report_inventory(deckies).await?;
        Ok(agent)
    }

    /// Starts simulated hosts with these arguments and this data directory, and waits until their
    /// agents are ready.
    pub async fn start_simulator(&self, data_dir: &Path, arguments: &[&str]) -> Result<Simulator> {
        self.start_simulator_with(data_dir, arguments, &[]).await
    }

    /// Starts simulated hosts as [`start_simulator`](Self::start_simulator) does, with additional
    /// environment variables.
    pub async fn start_simulator_with(
        &self,
        data_dir: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Simulator> {
        let mut command = Simulator::command(&self.url(), self.passwords(), data_dir);
        command.args(arguments).envs(environment.iter().copied());
        Simulator::start(command, data_dir).await
    }

    /// Kills the only controller (SIGKILL) if it is running, starts it again with the same data
    /// directory, and waits until it is ready.
    pub async fn crash_controller(&mut self) -> Result<()> {
        self.controllers[0].restart().await?;
        self.operator.wait_until_ready().await
    }
}

async fn connect(servers: &[Nats], role: Role) -> Result<Client> {
    let options = servers[0].connect_options(role);
    Client::connect_with(options, &join_urls(servers)).await
}

fn join_urls(servers: &[Nats]) -> String {
    let urls: Vec<_> = servers.iter().map(Nats::url).collect();
    urls.join(",")
}
