//! Three NATS servers and the controllers that share them, for the `cluster` and `partitions`
//! workloads. All these processes and the load generator share the machine and its disk.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::context::Context as JetStream;
use scuttle_schemas::PartitionCount;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_tests::programs::process::Process;
use scuttle_tests::servers::nats_cluster::SERVERS;
use scuttle_tests::{Client, Cluster, Controller, Http, Role, wait_until};
use tempfile::TempDir;

use crate::environment::shared::Environment;
use crate::load::spec::LoadSpec;

/// The name and password of a user with all permissions in the controllers' account. As this user,
/// workloads send reports for hosts, publish to the baseline stream, and remove streams.
const USER: &str = "bench";

/// The journal length, in changes, below which a busy controller does not move its journal to the
/// rows.
const SHORT_JOURNAL: f64 = 4_096.0;

/// The NATS servers of a cluster.
pub(crate) struct Servers {
    cluster: Cluster,
    /// The index of the server to which requests are sent.
    pub(crate) selected: usize,
}

impl Servers {
    /// Starts the servers with their files in `dir`.
    pub(crate) async fn start(dir: &Path) -> Result<Self> {
        Ok(Self {
            cluster: Cluster::builder()
                .servers(SERVERS)
                .controllers(0)
                .nats_conf(add_user)
                .keep_files_in(dir)
                .start()
                .await?,
            selected: 0,
        })
    }

    fn url(&self) -> String {
        self.cluster.servers[self.selected].url()
    }

    fn ids(&mut self) -> Result<Vec<u32>> {
        let servers = self.cluster.servers.iter_mut();
        servers.map(|server| process_id(server.process())).collect()
    }

    /// Connects to the selected server as [`USER`], who has all permissions.
    pub(crate) async fn client(&self) -> Result<Client> {
        let options = self.cluster.passwords().connect_options(Role::Controller);
        let options = options.user_and_password(USER.to_owned(), USER.to_owned());
        Client::connect_with(options, &self.url()).await
    }

    /// Returns the load with its requests sent to the selected server, its login set to the user
    /// with `role` (or to [`USER`] if `role` is `None`), and the CPU time of all servers measured.
    pub(crate) fn redirect(&mut self, load: LoadSpec, role: Option<Role>) -> Result<LoadSpec> {
        let login = role.map_or((USER, USER), |role| {
            (role.user(), self.cluster.passwords().password(role))
        });
        Ok(LoadSpec {
            url: self.url(),
            login: Some((login.0.to_owned(), login.1.to_owned())),
            watch: self.ids()?,
            ..load
        })
    }
}

/// Returns the text of `nats.conf` with [`USER`] added.
fn add_user(nats_conf: &str) -> String {
    const FIRST_USER: &str = "\n      {\n        user: controller\n";
    let more = format!("\n      {{ user: {USER}, password: \"{USER}\" }}{FIRST_USER}");
    nats_conf.replacen(FIRST_USER, &more, 1)
}

/// Controllers that share a new set of streams. Dropping this value kills the processes.
pub(crate) struct Controllers {
    processes: Vec<Controller>,
    partitions: PartitionCount,
    _dir: TempDir,
}

impl Controllers {
    /// Starts `count` controllers, which divide the partitions among themselves. Returns when all
    /// of them follow the journals.
    pub(crate) async fn start(
        environment: &Environment,
        servers: &Servers,
        count: usize,
        partitions: PartitionCount,
    ) -> Result<Self> {
        let dir = tempfile::tempdir_in(environment.dir())?;
        let passwords = servers.cluster.passwords();
        let mut processes = Vec::new();
        for number in 0..count {
            let mut environment = Vec::from(passwords.environment(Role::Controller));
            for (name, value) in [
                ("SCUTTLE_STORE", "jetstream"),
                ("SCUTTLE_REPLICAS", &SERVERS.to_string()),
                ("SCUTTLE_PARTITIONS", &partitions.to_string()),
                ("SCUTTLE_HTTP", "127.0.0.1:0"),
            ] {
                environment.push((name, value.to_owned()));
            }
            let data_dir = dir.path().join(format!("controller-{number}"));
            let mut controller = Controller::start(&servers.cluster.url(), environment, &data_dir)?;
            controller.process().quiet = true;
            processes.push(controller);
        }
        for controller in &mut processes {
            controller.process().wait_for_line("following: ").await?;
        }
        Ok(Self {
            processes,
            partitions,
            _dir: dir,
        })
    }

    /// Waits until every partition has a leader, the partitions are spread evenly among the
    /// controllers, and requests from `client` reach every leader.
    pub(crate) async fn wait_until_balanced(&mut self, client: &Client) -> Result<()> {
        let http_clients = self.http_clients().await?;
        let count = self.partitions.count() as f64;
        let minimum = (count / http_clients.len() as f64).floor();
        let count_led = || async {
            let mut led = Vec::new();
            for http in &http_clients {
                led.push(http.scrape().await?.value("scuttle_partitions_led")?);
            }
            anyhow::Ok(led)
        };
        let is_even = |led: &Vec<f64>| {
            led.iter().sum::<f64>() >= count && led.iter().all(|led| *led >= minimum)
        };
        wait_until("the partitions are spread evenly", count_led, is_even).await?;
        client.wait_until_ready().await?;
        // Results are the last subject that a leader subscribes to. This many hosts include at
        // least one of each partition.
        for number in 0..8 * self.partitions.count() {
            let subject = AgentChannel::Results.subject(&format!("unknown-{number}").parse()?);
            let send = || client.request_raw(&subject, async_nats::HeaderMap::new(), "{}");
            wait_until("requests reach the leader", send, |_| true).await?;
        }
        Ok(())
    }

    /// Waits until the only partition has a leader, and returns the index of the leading
    /// controller.
    pub(crate) async fn leader(&mut self, client: &Client) -> Result<usize> {
        self.wait_until_balanced(client).await?;
        let mut leaders = Vec::new();
        for (number, http) in self.http_clients().await?.iter().enumerate() {
            if http.scrape().await?.value("scuttle_leading")? > 0.0 {
                leaders.push(number);
            }
        }
        ensure!(leaders.len() == 1, "several controllers lead: {leaders:?}");
        Ok(leaders[0])
    }

    /// Waits until every controller has moved its journal to its rows, except for at most
    /// [`SHORT_JOURNAL`] changes per partition.
    pub(crate) async fn wait_until_journals_are_short(&mut self) -> Result<()> {
        let limit = SHORT_JOURNAL * self.partitions.count() as f64;
        for http in self.http_clients().await? {
            let journal_length = || async { http.scrape().await?.value("scuttle_journal_changes") };
            wait_until("the journal is short", journal_length, |changes| {
                *changes <= limit
            })
            .await?;
        }
        Ok(())
    }

    /// Returns a client for each controller's HTTP server.
    pub(crate) async fn http_clients(&mut self) -> Result<Vec<Http>> {
        let mut http_clients = Vec::new();
        for controller in &mut self.processes {
            http_clients.push(controller.http().await?);
        }
        Ok(http_clients)
    }

    pub(crate) fn ids(&mut self) -> Result<Vec<u32>> {
        let processes = self.processes.iter_mut();
        processes
            .map(|controller| process_id(controller.process()))
            .collect()
    }

    /// Kills the controllers and removes their streams and buckets.
    pub(crate) async fn remove(mut self, context: &JetStream) -> Result<()> {
        for controller in &mut self.processes {
            controller.kill().await?;
        }
        for partition in self.partitions.iter() {
            let journal = subjects::journal_stream_name(partition);
            context.delete_stream(journal).await?;
        }
        context.delete_key_value(subjects::LEASES_BUCKET).await?;
        if self.partitions != PartitionCount::ONE {
            context.delete_key_value(subjects::NAMES_BUCKET).await?;
        }
        let snapshots = subjects::SNAPSHOTS_BUCKET;
        context.delete_object_store(snapshots).await?;
        Ok(())
    }
}

fn process_id(process: &Process) -> Result<u32> {
    process.id().context("the process has ended")
}
