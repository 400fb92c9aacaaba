//! A cluster of three nats-servers that use the project's `nats-cluster.conf` and listen on free
//! loopback ports.
//!
//! The state of the cluster is read from the monitoring endpoints of its servers.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::{join_all, try_join_all};
use serde_json::Value;

use super::nats::Nats;
use super::nats_server::{ServerSetup, find_free_ports};
use crate::http::Http;
use crate::programs::workspace;
use crate::roles::{Passwords, generate_password};
use crate::wait::wait_until;

/// The number of servers, which is also the number of replicas of each stream.
pub const SERVERS: usize = 3;

/// The names of the servers. The monitoring endpoints report the leader of a stream by its name.
pub const NAMES: [&str; SERVERS] = ["nats-a", "nats-b", "nats-c"];

/// The environment variables from which `nats-cluster.conf` takes the routes between the servers.
const ROUTES: [&str; SERVERS] = ["SCUTTLE_ROUTE_A", "SCUTTLE_ROUTE_B", "SCUTTLE_ROUTE_C"];

/// The maximum number of attempts to start the servers. An attempt fails when another process takes
/// one of the ports.
const MAX_ATTEMPTS: usize = 5;

/// The timeout for one monitoring request. A server that is stopped (SIGSTOP) never responds.
const MONITOR_TIMEOUT: Duration = Duration::from_secs(2);

/// Starts the servers and waits until they have formed a cluster.
///
/// Each server's files are in a folder of `dir` with the server's name. The store is in the
/// subfolder `store`. `edit` changes the text of `nats.conf`.
pub async fn start(dir: &Path, edit: impl Fn(&str) -> String) -> Result<Vec<Nats>> {
    let nats_conf = std::fs::read_to_string(workspace().join("nats.conf"))?;
    let nats_conf = edit(&nats_conf);
    let mut started = start_once(dir, &nats_conf).await;
    for _ in 1..MAX_ATTEMPTS {
        if started.is_ok() {
            break;
        }
        started = start_once(dir, &nats_conf).await;
    }
    let servers = started?;
    wait_until_formed(&servers).await?;
    Ok(servers)
}

/// Starts the servers, without waiting for the cluster to form.
async fn start_once(dir: &Path, nats_conf: &str) -> Result<Vec<Nats>> {
    let passwords = Passwords::generate();
    let cluster_password = generate_password();
    let ports = find_free_ports::<SERVERS>()?;
    let setup = |(name, port): (&str, &u16)| -> Result<ServerSetup> {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir)?;
        std::fs::write(dir.join("nats.conf"), nats_conf)?;
        let configuration = dir.join("nats-cluster.conf");
        std::fs::write(&configuration, cluster_configuration()?)?;
        let mut environment = passwords.server_environment();
        environment.push(("SCUTTLE_SERVER_NAME", name.to_owned()));
        environment.push(("SCUTTLE_CLUSTER_PASSWORD", cluster_password.clone()));
        environment.push(("SCUTTLE_CLUSTER_LISTEN", format!("127.0.0.1:{port}")));
        let route = |port: &u16| format!("nats-route://server:{cluster_password}@127.0.0.1:{port}");
        environment.extend(ROUTES.into_iter().zip(ports.iter().map(route)));
        Ok(ServerSetup {
            configuration,
            store: Some(dir.join("store")),
            dir,
            environment,
        })
    };
    let setups: Vec<ServerSetup> =
        (NAMES.into_iter().zip(&ports).map(setup)).collect::<Result<_>>()?;
    let starts = setups.into_iter();
    try_join_all(starts.map(|setup| Nats::start_from_setup(setup, passwords.clone()))).await
}

/// Returns the text of `nats-cluster.conf` with two changes:
///
/// - Each server has a monitoring endpoint.
/// - The servers are not advertised to clients, because clients would then connect to other servers
///   directly and bypass a proxy.
fn cluster_configuration() -> Result<String> {
    const BLOCK: &str = "\ncluster {\n";
    let text = std::fs::read_to_string(workspace().join("nats-cluster.conf"))?;
    ensure!(
        text.contains(BLOCK),
        "nats-cluster.conf has no cluster block"
    );
    let changed = "\nhttp: \"127.0.0.1:-1\"\n\ncluster {\n  no_advertise: true\n";
    Ok(text.replace(BLOCK, changed))
}

/// Waits until all servers are running, are connected to each other, and have a `JetStream` leader.
pub async fn wait_until_formed(servers: &[Nats]) -> Result<()> {
    let monitors = list_monitors(servers);
    wait_until(
        "the servers have formed a cluster",
        || check_formed(&monitors),
        |()| true,
    )
    .await
}

/// Returns the monitoring endpoints of the servers that have such an endpoint.
pub fn list_monitors(servers: &[Nats]) -> Vec<Http> {
    servers.iter().filter_map(Nats::monitor).collect()
}

/// Checks that the servers with these monitoring endpoints have formed a cluster of [`SERVERS`]
/// servers.
///
/// # Errors
/// If the servers have not formed a cluster. The error states the condition that does not hold.
pub async fn check_formed(monitors: &[Http]) -> Result<()> {
    ensure!(monitors.len() == SERVERS, "not all servers run");
    let mut leaders = BTreeSet::new();
    for (monitor, name) in monitors.iter().zip(NAMES) {
        query(monitor, "/healthz").await?;
        let routes = query(monitor, "/routez").await?;
        let routes = routes["routes"].as_array().into_iter().flatten();
        let others: BTreeSet<_> = routes
            .filter_map(|each| each["remote_name"].as_str())
            .collect();
        ensure!(
            others.len() == SERVERS - 1,
            "{name} is connected only to {others:?}"
        );
        let jetstream = query(monitor, "/jsz").await?;
        let meta = &jetstream["meta_cluster"];
        let leader = meta["leader"].as_str().unwrap_or_default();
        leaders.insert(leader.to_owned());
        // Only the leader knows the state of its replicas.
        let replicas = meta["replicas"].as_array().into_iter().flatten();
        let mut behind = replicas.filter(|each| each["current"] != true);
        if let Some(behind) = behind.next().filter(|_| leader == name) {
            bail!("{} is behind {name}", behind["name"]);
        }
    }
    let has_one_leader = leaders.len() == 1 && !leaders.contains("");
    ensure!(has_one_leader, "the servers name the leaders {leaders:?}");
    Ok(())
}

/// Finds the server that leads `stream`, as an index into [`NAMES`].
///
/// # Errors
/// If no server that responds names a leader.
pub async fn find_stream_leader(monitors: &[Http], stream: &str) -> Result<usize> {
    let queries = monitors
        .iter()
        .map(|monitor| query(monitor, "/jsz?streams=1"));
    let responses = join_all(queries).await;
    for response in responses.iter().flatten() {
        let accounts = response["account_details"].as_array().into_iter().flatten();
        let streams = accounts.filter_map(|each| each["stream_detail"].as_array());
        let mut streams = streams.flatten().filter(|each| each["name"] == stream);
        let leader = streams.find_map(|each| each["cluster"]["leader"].as_str());
        if let Some(index) = NAMES.iter().position(|name| Some(*name) == leader) {
            return Ok(index);
        }
    }
    bail!("no server names a leader of {stream}: {responses:?}")
}

async fn query(monitor: &Http, path: &str) -> Result<Value> {
    let body = tokio::time::timeout(MONITOR_TIMEOUT, monitor.get(path)).await;
    let body = body.with_context(|| format!("{path}: no response"))??;
    serde_json::from_str(&body).context(body)
}
