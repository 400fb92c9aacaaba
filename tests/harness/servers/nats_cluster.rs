//! Three nats-servers with the project's `nats-cluster.conf`, on free ports of loopback: each can be killed, stopped and started
//! again by itself. What they keep together is told as they tell it themselves, over HTTP.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::{join_all, try_join_all};
use serde_json::Value;
use tempfile::TempDir;

use crate::clients::client::Client;
use crate::http::Http;
use crate::programs::workspace;
use crate::roles::{Passwords, Role, password};
use crate::servers::nats::Nats;
use crate::servers::nats_server::{Setup, free_ports};
use crate::wait::until;

/// How many servers, and how many of them keep each stream.
pub const SERVERS: usize = 3;

/// Their names, which also tell them apart as the leaders of streams.
pub const NAMES: [&str; SERVERS] = ["nats-a", "nats-b", "nats-c"];
/// Where each finds the others.
const ROUTES: [&str; SERVERS] = ["SCUTTLE_ROUTE_A", "SCUTTLE_ROUTE_B", "SCUTTLE_ROUTE_C"];

/// How often a start is tried when it fails, as it does when a port is taken meanwhile.
const TRIES: usize = 5;
/// How long a server may take to tell something: one that is stopped never does.
const LOOK: Duration = Duration::from_secs(2);

/// Three servers. Dropping it kills them and removes what they stored.
#[derive(Debug)]
pub struct NatsCluster {
    /// Each of them.
    pub servers: Vec<Nats>,
    /// Removed with the servers, unless the directory is somebody else's.
    _own: Option<TempDir>,
}

impl NatsCluster {
    /// Starts the servers, and waits until they are one.
    ///
    /// # Errors
    /// There is no nats-server, or they do not find each other.
    pub async fn start() -> Result<Self> {
        let own = tempfile::tempdir().context("make a directory for nats-servers")?;
        let started = Self::start_in(own.path()).await?;
        Ok(Self {
            _own: Some(own),
            ..started
        })
    }

    /// The same, with their files and logs in `dir`, where they stay: each in a folder of its name, with its store in `store`.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_in(dir: &Path) -> Result<Self> {
        Self::start_with(dir, str::to_owned).await
    }

    /// The same, with what `change` makes of `nats.conf`.
    ///
    /// # Errors
    /// As `start`.
    pub async fn start_with(dir: &Path, change: impl Fn(&str) -> String) -> Result<Self> {
        let nats_conf = std::fs::read_to_string(workspace().join("nats.conf"))?;
        let nats_conf = change(&nats_conf);
        let mut started = launch(dir, &nats_conf).await;
        for _ in 1..TRIES {
            if started.is_ok() {
                break;
            }
            started = launch(dir, &nats_conf).await;
        }
        let cluster = Self {
            servers: started?,
            _own: None,
        };
        cluster.formed().await?;
        Ok(cluster)
    }

    /// Where clients connect: to any of them.
    pub fn url(&self) -> String {
        let urls: Vec<_> = self.servers.iter().map(Nats::url).collect();
        urls.join(",")
    }

    /// The ports for clients.
    pub fn ports(&self) -> Vec<u16> {
        self.servers.iter().map(Nats::port).collect()
    }

    /// Everybody's password, at each of them.
    pub fn passwords(&self) -> &Passwords {
        self.servers[0].passwords()
    }

    /// Options to connect as `role`.
    pub fn options(&self, role: Role) -> async_nats::ConnectOptions {
        self.passwords().options(role)
    }

    /// A connection as `role`, to any of the servers.
    ///
    /// # Errors
    /// None lets it in.
    pub async fn client(&self, role: Role) -> Result<Client> {
        Client::with(self.options(role), &self.url()).await
    }

    /// Waits until all servers run, see each other, and have a leader for what they keep together.
    ///
    /// # Errors
    /// They do not.
    pub async fn formed(&self) -> Result<()> {
        let monitors = self.monitors();
        until("the servers are one", || formed(&monitors), |()| true).await
    }

    /// The server that leads a stream, as soon as there is one.
    ///
    /// # Errors
    /// There is none.
    pub async fn leader_of(&self, stream: &str) -> Result<usize> {
        let monitors = self.monitors();
        let led = || leader_of(&monitors, stream);
        until("the stream has a leader", led, |_| true).await
    }

    /// Where each tells of itself.
    pub fn monitors(&self) -> Vec<Http> {
        self.servers.iter().filter_map(Nats::monitor).collect()
    }
}

/// Starts the servers; they need not have found each other.
async fn launch(dir: &Path, nats_conf: &str) -> Result<Vec<Nats>> {
    let passwords = Passwords::make();
    let password = password();
    let ports = free_ports::<SERVERS>()?;
    let setup = |(name, port): (&str, &u16)| -> Result<Setup> {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join("nats.conf"), nats_conf)?;
        let configuration = dir.join("nats-cluster.conf");
        std::fs::write(&configuration, for_tests()?)?;
        let mut environment = passwords.of_server();
        environment.push(("SCUTTLE_SERVER_NAME", name.to_owned()));
        environment.push(("SCUTTLE_CLUSTER_PASSWORD", password.clone()));
        environment.push(("SCUTTLE_CLUSTER_LISTEN", format!("127.0.0.1:{port}")));
        let route = |port: &u16| format!("nats-route://server:{password}@127.0.0.1:{port}");
        environment.extend(ROUTES.into_iter().zip(ports.iter().map(route)));
        Ok(Setup {
            configuration,
            store: Some(dir.join("store")),
            dir,
            environment,
        })
    };
    let setups: Vec<Setup> = (NAMES.into_iter().zip(&ports).map(setup)).collect::<Result<_>>()?;
    let starts = setups.into_iter();
    try_join_all(starts.map(|setup| Nats::start_as(setup, passwords.clone()))).await
}

/// The project's configuration; with HTTP, and without telling clients of the other servers, which would lead them around
/// a proxy.
fn for_tests() -> Result<String> {
    const BLOCK: &str = "\ncluster {\n";
    let text = std::fs::read_to_string(workspace().join("nats-cluster.conf"))?;
    ensure!(text.contains(BLOCK), "nats-cluster.conf has no cluster");
    let changed = "\nhttp: \"127.0.0.1:-1\"\n\ncluster {\n  no_advertise: true\n";
    Ok(text.replace(BLOCK, changed))
}

/// Whether the servers with these monitors are all there is of a cluster, and in order.
///
/// # Errors
/// They are not; it says why.
pub async fn formed(monitors: &[Http]) -> Result<()> {
    ensure!(monitors.len() == SERVERS, "not all servers run");
    let mut leaders = BTreeSet::new();
    for (monitor, name) in monitors.iter().zip(NAMES) {
        ask(monitor, "/healthz").await?;
        let routes = ask(monitor, "/routez").await?;
        let routes = routes["routes"].as_array().into_iter().flatten();
        let others: BTreeSet<_> = routes
            .filter_map(|each| each["remote_name"].as_str())
            .collect();
        ensure!(others.len() == SERVERS - 1, "{name} sees {others:?} alone");
        let told = ask(monitor, "/jsz").await?;
        let meta = &told["meta_cluster"];
        let leader = meta["leader"].as_str().unwrap_or_default();
        leaders.insert(leader.to_owned());
        // The others do not know of each other.
        let replicas = meta["replicas"].as_array().into_iter().flatten();
        let mut behind = replicas.filter(|each| each["current"] != true);
        if let Some(behind) = behind.next().filter(|_| leader == name) {
            bail!("{} is behind {name}", behind["name"]);
        }
    }
    let led = leaders.len() == 1 && !leaders.contains("");
    ensure!(led, "the servers are led by {leaders:?}");
    Ok(())
}

/// The server that leads a stream, by its place.
///
/// # Errors
/// None does, as far as those that answer know.
pub async fn leader_of(monitors: &[Http], stream: &str) -> Result<usize> {
    let told = join_all(
        monitors
            .iter()
            .map(|monitor| ask(monitor, "/jsz?streams=1")),
    )
    .await;
    for told in told.iter().flatten() {
        let accounts = told["account_details"].as_array().into_iter().flatten();
        let streams = accounts.filter_map(|each| each["stream_detail"].as_array());
        let mut streams = streams.flatten().filter(|each| each["name"] == stream);
        let leader = streams.find_map(|each| each["cluster"]["leader"].as_str());
        if let Some(place) = NAMES.iter().position(|name| Some(*name) == leader) {
            return Ok(place);
        }
    }
    bail!("no server tells a leader of {stream}: {told:?}")
}

async fn ask(monitor: &Http, path: &str) -> Result<Value> {
    let body = tokio::time::timeout(LOOK, monitor.body(path)).await;
    let body = body.with_context(|| format!("{path}: no answer"))??;
    serde_json::from_str(&body).context(body)
}
