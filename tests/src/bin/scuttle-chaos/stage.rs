//! The processes and the network between them: started, killed, stopped, started again on the same files.
//!
//! What is done to them when is in `faults` and `trouble`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use scuttle_schemas::HostId;
use scuttle_tests::nats::program;
use scuttle_tests::process::Process;
use scuttle_tests::{Client, Controller, Nats, Role};
use tokio::process::Command;
use tokio::sync::Mutex;

use crate::faults::{Actor, Road};
use scuttle_tests::proxy::{Proxy, Rest};

/// How many processes of simulated hosts.
pub(crate) const GROUPS: usize = 10;
/// How many hosts in each.
pub(crate) const HOSTS_IN_GROUP: usize = 5;
/// How many deckies a host begins with.
pub(crate) const DECKIES: usize = 5;

/// How often a start is tried when it fails, as it does while a port is taken by a connection of somebody else's.
const TRIES: usize = 20;

/// What the simulated hosts are ordered to do while there are faults.
const ORDERS: [&str; 6] = [
    "--redeploy-ms=1000..8000",
    "--fail-rate=0.15",
    "--crash-rate=0.05",
    "--duplicate-rate=0.05",
    "--offline-rate=0.1",
    "--teardown-ms=100..1500",
];

/// Everything that runs, and where its files are. Dropping it kills all.
pub(crate) struct Stage {
    pub(crate) dir: PathBuf,
    pub(crate) nats: Mutex<Nats>,
    controller: Mutex<Process>,
    groups: Vec<Mutex<Process>>,
    roads: BTreeMap<Road, Proxy>,
    direct: String,
    environments: [[(&'static str, String); 2]; 2],
    operator_password: String,
    viewer_password: String,
    seed: u64,
}

impl Stage {
    /// Starts everything in `dir`, and waits until every host is known.
    pub(crate) async fn start(dir: &Path, seed: u64) -> Result<Self> {
        let nats_dir = dir.join("nats");
        std::fs::create_dir_all(&nats_dir)?;
        let nats = Nats::start_in(&nats_dir).await?;
        let mut roads = BTreeMap::new();
        // What a dead controller had said would come after what its successor says, and core NATS forbids no such thing;
        // the audit of revisions does.
        let controllers = Proxy::start(&[nats.port()], Rest::IsLost).await?;
        roads.insert(Road::Controller, controllers);
        let others = (0..GROUPS).map(Road::Group);
        for road in others.chain([Road::Operators, Road::Viewer]) {
            roads.insert(road, Proxy::start(&[nats.port()], Rest::Arrives).await?);
        }
        let environments = [Role::Controller, Role::Agents].map(|role| nats.environment(role));
        let controller = spawn_controller(dir, &roads[&Road::Controller], &environments[0])?;
        let mut stage = Self {
            dir: dir.to_owned(),
            direct: nats.url(),
            operator_password: nats.password(Role::Operator).to_owned(),
            viewer_password: nats.password(Role::Viewer).to_owned(),
            nats: Mutex::new(nats),
            controller: Mutex::new(controller),
            groups: Vec::new(),
            roads,
            environments,
            seed,
        };
        stage.operator().await?.answered().await?;
        for number in 0..GROUPS {
            let mut group = stage.spawn_group(number, &[&ORDERS[..], &["--enroll"]].concat())?;
            group.line("ready:").await?;
            stage.groups.push(Mutex::new(group));
        }
        Ok(stage)
    }

    /// The hosts, by their group.
    pub(crate) fn hosts(&self) -> Vec<(HostId, PathBuf)> {
        let group = |group: usize| {
            (1..=HOSTS_IN_GROUP).filter_map(move |host| {
                let id: HostId = format!("{}-{host:04}", prefix(group)).parse().ok()?;
                let dir = group_dir(&self.dir, group).join(id.as_str());
                Some((id, dir))
            })
        };
        (0..GROUPS).flat_map(group).collect()
    }

    /// An operator beside the faulty network.
    pub(crate) async fn operator(&self) -> Result<Client> {
        Client::with(self.options(Role::Operator), &self.direct).await
    }

    /// An operator in the midst of it.
    pub(crate) async fn operator_on_the_road(&self) -> Result<Client> {
        Client::with(
            self.options(Role::Operator),
            &self.roads[&Road::Operators].url(),
        )
        .await
    }

    /// What a client of this role connects with.
    pub(crate) fn options(&self, role: Role) -> async_nats::ConnectOptions {
        let password = match role {
            Role::Viewer => &self.viewer_password,
            _ => &self.operator_password,
        };
        async_nats::ConnectOptions::with_user_and_password(role.user().into(), password.clone())
            .reconnect_delay_callback(|_| std::time::Duration::from_millis(50))
    }

    /// The server's own address.
    pub(crate) fn direct(&self) -> &str {
        &self.direct
    }

    /// The network that way.
    pub(crate) fn road(&self, road: Road) -> &Proxy {
        &self.roads[&road]
    }

    /// Kills it (SIGKILL).
    pub(crate) async fn kill(&self, actor: Actor) -> Result<()> {
        match actor {
            Actor::Nats => self.nats.lock().await.kill().await,
            Actor::Controller => self.controller.lock().await.kill().await,
            Actor::Group(number) => self.groups[number].lock().await.kill().await,
        }
    }

    /// Starts it again after a kill.
    pub(crate) async fn start_again(&self, actor: Actor) -> Result<()> {
        match actor {
            Actor::Nats => self.restart_nats().await,
            Actor::Controller => {
                let mut controller = self.controller.lock().await;
                *controller = spawn_controller(
                    &self.dir,
                    &self.roads[&Road::Controller],
                    &self.environments[0],
                )?;
                Ok(())
            }
            Actor::Group(number) => {
                *self.groups[number].lock().await = self.spawn_group(number, &ORDERS)?;
                Ok(())
            }
        }
    }

    /// Kills a group and starts it again without any fault of its own: nothing is deployed anew any more.
    pub(crate) async fn calm(&self, number: usize) -> Result<()> {
        let mut group = self.groups[number].lock().await;
        group.kill().await?;
        *group = self.spawn_group(number, &["--teardown-ms=100..500"])?;
        Ok(())
    }

    /// Sends a signal, by its name.
    pub(crate) async fn signal(&self, actor: Actor, name: &str) -> Result<()> {
        match actor {
            Actor::Nats => self.nats.lock().await.process().signal(name).await,
            Actor::Controller => self.controller.lock().await.signal(name).await,
            Actor::Group(number) => self.groups[number].lock().await.signal(name).await,
        }
    }

    /// An error with the log of what has ended by itself, if anything has.
    pub(crate) async fn alive(&self, actor: Actor) -> Result<()> {
        match actor {
            Actor::Nats => self.nats.lock().await.process().alive(),
            Actor::Controller => self.controller.lock().await.alive(),
            Actor::Group(number) => self.groups[number].lock().await.alive(),
        }
    }

    /// Stops the simulated hosts (SIGTERM), and waits for their end.
    pub(crate) async fn stop_groups(&self) -> Result<()> {
        for group in &self.groups {
            end(&mut *group.lock().await).await?;
        }
        Ok(())
    }

    /// Stops the controller and the server (SIGTERM), and waits for their end.
    pub(crate) async fn stop_rest(&self) -> Result<()> {
        end(&mut *self.controller.lock().await).await?;
        self.nats.lock().await.stop().await
    }

    async fn restart_nats(&self) -> Result<()> {
        let mut nats = self.nats.lock().await;
        let mut restarted = nats.restart().await;
        for _ in 1..TRIES {
            if restarted.is_ok() {
                break;
            }
            restarted = nats.restart().await;
        }
        nats.process().quiet = true;
        restarted.context("start nats-server again")
    }

    fn spawn_group(&self, number: usize, orders: &[&str]) -> Result<Process> {
        let mut command = Command::new(program("scuttle-agent-sim"));
        command
            .args(["--nats-url", &self.roads[&Road::Group(number)].url()])
            .args(["--host-prefix", &prefix(number)])
            .args(["--hosts", &HOSTS_IN_GROUP.to_string()])
            .args(["--deckies-per-host", &DECKIES.to_string()])
            .args(["--seed", &self.seed.to_string()])
            .args(["--heartbeat-ms", "500"])
            .args(orders)
            .arg("--data-dir")
            .arg(group_dir(&self.dir, number))
            .envs(self.environments[1].clone())
            .env("SCUTTLE_OPERATOR_USER", Role::Operator.user())
            .env("SCUTTLE_OPERATOR_PASSWORD", &self.operator_password);
        let log = group_dir(&self.dir, number).with_extension("log");
        Process::spawn("a group of hosts", command, &log).map(quiet)
    }
}

fn spawn_controller(
    dir: &Path,
    road: &Proxy,
    environment: &[(&'static str, String); 2],
) -> Result<Process> {
    let mut command = Controller::command();
    command
        .args(["--nats-url", &road.url(), "--data-dir"])
        .arg(dir.join("controller"))
        .envs(environment.clone());
    Process::spawn("the controller", command, &dir.join("controller.log")).map(quiet)
}

/// Its log is kept in a file; nobody wants it on the terminal.
fn quiet(mut process: Process) -> Process {
    process.quiet = true;
    process
}

async fn end(process: &mut Process) -> Result<()> {
    process.signal("TERM").await?;
    process.exit().await?;
    Ok(())
}

fn prefix(group: usize) -> String {
    format!("g{group:02}")
}

fn group_dir(dir: &Path, group: usize) -> PathBuf {
    dir.join(prefix(group))
}
