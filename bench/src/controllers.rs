//! Three servers, and controllers whose journals they keep together: what `cluster` and `partitions` measure. All of them, and the
//! generator, share the machine and its disk.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use async_nats::jetstream::context::Context as JetStream;
use scuttle_schemas::PartitionCount;
use scuttle_schemas::subjects::{self, AgentChannel};
use scuttle_tests::programs::process::Process;
use scuttle_tests::servers::nats_cluster::SERVERS;
use scuttle_tests::{Client, Controller, Http, NatsCluster, Role, until};
use tempfile::TempDir;

use crate::load::Order;
use crate::stage::Stage;

/// Who may do everything in the controllers' account: reports for hosts, asks for raw publishes, and removes streams.
const USER: &str = "bench";

/// A journal shorter than this, in changes, is moved no further while there is something to do.
const SHORT: f64 = 4_096.0;

/// The servers, and which of them is asked.
pub(crate) struct Servers {
    cluster: NatsCluster,
    pub(crate) turn: usize,
}

impl Servers {
    /// Starts them, with their files in `dir`.
    pub(crate) async fn start(dir: &Path) -> Result<Self> {
        Ok(Self {
            cluster: NatsCluster::start_with(dir, with_user).await?,
            turn: 0,
        })
    }

    fn url(&self) -> String {
        self.cluster.servers[self.turn].url()
    }

    fn ids(&mut self) -> Result<Vec<u32>> {
        let servers = self.cluster.servers.iter_mut();
        servers.map(|server| id(server.process())).collect()
    }

    /// A connection that may do everything.
    pub(crate) async fn client(&self) -> Result<Client> {
        let options = self.cluster.options(Role::Controller);
        let options = options.user_and_password(USER.to_owned(), USER.to_owned());
        Client::with(options, &self.url()).await
    }

    /// The same order for these servers, which are watched: as somebody of this role, or as who may do everything.
    pub(crate) fn order(&mut self, order: Order, role: Option<Role>) -> Result<Order> {
        let login = role.map_or((USER, USER), |role| {
            (role.user(), self.cluster.passwords().of(role))
        });
        Ok(Order {
            url: self.url(),
            login: Some((login.0.to_owned(), login.1.to_owned())),
            watch: self.ids()?,
            ..order
        })
    }
}

/// `nats.conf` with one user more.
fn with_user(nats_conf: &str) -> String {
    const FIRST: &str = "\n      {\n        user: controller\n";
    let more = format!("\n      {{ user: {USER}, password: \"{USER}\" }}{FIRST}");
    nats_conf.replacen(FIRST, &more, 1)
}

/// Controllers over streams of their own. Dropping it kills them.
pub(crate) struct Controllers {
    processes: Vec<Controller>,
    of: PartitionCount,
    _dir: TempDir,
}

impl Controllers {
    /// Starts so many, over which so many partitions are spread.
    pub(crate) async fn start(
        stage: &Stage,
        servers: &Servers,
        count: usize,
        of: PartitionCount,
    ) -> Result<Self> {
        let dir = tempfile::tempdir_in(stage.dir())?;
        let passwords = servers.cluster.passwords();
        let mut processes = Vec::new();
        for number in 0..count {
            let mut environment = Vec::from(passwords.environment(Role::Controller));
            for (name, value) in [
                ("SCUTTLE_STORE", "jetstream"),
                ("SCUTTLE_REPLICAS", &SERVERS.to_string()),
                ("SCUTTLE_PARTITIONS", &of.to_string()),
                ("SCUTTLE_HTTP", "127.0.0.1:0"),
            ] {
                environment.push((name, value.to_owned()));
            }
            let place = dir.path().join(format!("controller-{number}"));
            let mut started = Controller::start_at(&servers.cluster.url(), environment, &place)?;
            started.process().quiet = true;
            processes.push(started);
        }
        for started in &mut processes {
            started.process().line("following: ").await?;
        }
        Ok(Self {
            processes,
            of,
            _dir: dir,
        })
    }

    /// Waits until the partitions are led, by each controller as many as by the others, as soon as who asks there is heard by them.
    pub(crate) async fn balanced(&mut self, client: &Client) -> Result<()> {
        let doors = self.doors().await?;
        let all = self.of.count() as f64;
        let fewest = (all / doors.len() as f64).floor();
        let look = || async {
            let mut led = Vec::new();
            for http in &doors {
                led.push(http.metrics().await?.value("scuttle_partitions_led")?);
            }
            anyhow::Ok(led)
        };
        let spread =
            |led: &Vec<f64>| led.iter().sum::<f64>() >= all && led.iter().all(|led| *led >= fewest);
        until("the partitions are spread evenly", look, spread).await?;
        client.answered().await?;
        // What a leader listens to last, of as many hosts as have surely one of each.
        for number in 0..8 * self.of.count() {
            let subject = AgentChannel::Results.subject(&format!("nobody-{number}").parse()?);
            let ask = || client.raw(&subject, async_nats::HeaderMap::new(), "{}");
            until("the leader is heard of", ask, |_| true).await?;
        }
        Ok(())
    }

    /// Which of them leads the only partition.
    pub(crate) async fn leader(&mut self, client: &Client) -> Result<usize> {
        self.balanced(client).await?;
        let mut leaders = Vec::new();
        for (number, http) in self.doors().await?.iter().enumerate() {
            if http.metrics().await?.value("scuttle_leading")? > 0.0 {
                leaders.push(number);
            }
        }
        ensure!(leaders.len() == 1, "{leaders:?} lead");
        Ok(leaders[0])
    }

    /// Waits until what was registered is in everybody's rows.
    pub(crate) async fn at_rest(&mut self) -> Result<()> {
        let short = SHORT * self.of.count() as f64;
        for http in self.doors().await? {
            let journal = || async { http.metrics().await?.value("scuttle_journal_changes") };
            until("the journal is short", journal, |changes| *changes <= short).await?;
        }
        Ok(())
    }

    /// Where each of them tells of itself.
    pub(crate) async fn doors(&mut self) -> Result<Vec<Http>> {
        let mut doors = Vec::new();
        for started in &mut self.processes {
            doors.push(Http::of(started.process()).await?);
        }
        Ok(doors)
    }

    pub(crate) fn ids(&mut self) -> Result<Vec<u32>> {
        let processes = self.processes.iter_mut();
        processes.map(|started| id(started.process())).collect()
    }

    /// Kills them, and removes what they kept on the servers.
    pub(crate) async fn end(mut self, context: &JetStream) -> Result<()> {
        for started in &mut self.processes {
            started.kill().await?;
        }
        for partition in self.of.iter() {
            let journal = subjects::journal_stream_name(partition);
            context.delete_stream(journal).await?;
        }
        context.delete_key_value(subjects::LEASES_BUCKET).await?;
        if self.of != PartitionCount::ONE {
            context.delete_key_value(subjects::NAMES_BUCKET).await?;
        }
        let snapshots = subjects::SNAPSHOTS_BUCKET;
        context.delete_object_store(snapshots).await?;
        Ok(())
    }
}

fn id(process: &Process) -> Result<u32> {
    process.id().context("it has ended")
}
