//! Starts, kills, stops and restarts the processes of a chaos run, and starts the proxies between
//! them.
//!
//! `faults` decides what happens to which process, and when.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use scuttle_schemas::{HostId, Partition, subjects};
use scuttle_tests::faults::proxy::{InFlight, Proxy};
use scuttle_tests::http::Http;
use scuttle_tests::programs::process::Process;
use scuttle_tests::programs::program_path;
use scuttle_tests::roles::{Passwords, Role};
use scuttle_tests::servers::nats_cluster::{self, NAMES, SERVERS};
use scuttle_tests::{Client, Controller, Nats};
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::cluster::controller_log;
use crate::cluster::scale::{DECKIES, GROUPS, Scale};
use crate::cluster::small_disk::SmallDisk;
use crate::cluster::targets::{Program, Route};

/// The index of the server whose store is on a small disk, which a fault can fill.
pub(crate) const SERVER_WITH_SMALL_DISK: usize = SERVERS - 1;

/// The time between two checks of the cluster, and the timeout for a controller's metrics. A
/// controller that is stopped (SIGSTOP) never returns its metrics.
const POLL_INTERVAL: Duration = Duration::from_millis(300);
/// The timeout for the servers to form a cluster again.
const CLUSTER_TIMEOUT: Duration = Duration::from_mins(1);

/// The maximum number of attempts to restart a server. An attempt fails while a connection of
/// another program uses the server's port.
const MAX_START_ATTEMPTS: usize = 20;

/// The options of the simulated hosts during the faults. At random, the hosts redeploy deckies,
/// teardowns fail, and agents crash and go offline.
const FAULTY_HOST_OPTIONS: [&str; 6] = [
    "--redeploy-ms=1000..8000",
    "--fail-rate=0.15",
    "--crash-rate=0.05",
    "--duplicate-rate=0.05",
    "--offline-rate=0.1",
    "--teardown-ms=100..1500",
];

/// All processes of a run and their files. Dropping this value kills the processes.
pub(crate) struct Processes {
    pub(crate) dir: PathBuf,
    pub(crate) size: Scale,
    pub(crate) small_disk: Option<SmallDisk>,
    servers: Vec<Mutex<Nats>>,
    controllers: Vec<Mutex<Process>>,
    groups: Vec<Mutex<Process>>,
    routes: BTreeMap<Route, Proxy>,
    direct_urls: String,
    passwords: Passwords,
    seed: u64,
}

impl Processes {
    /// Starts all processes with their files in `dir`, and waits until every host is enrolled.
    pub(crate) async fn start(
        dir: &Path,
        size: Scale,
        small_disk: Option<SmallDisk>,
        seed: u64,
    ) -> Result<Self> {
        let servers = start_servers(&dir.join("nats"), size).await?;
        let ports: Vec<_> = servers.iter().map(Nats::port).collect();
        let mut routes = BTreeMap::new();
        // A controller's proxy drops what is in flight when the controller dies. Otherwise a dead
        // leader's messages could arrive after its successor's. Core NATS allows that, but the
        // audit of revisions does not.
        for controller in (0..size.controllers).map(Route::Controller) {
            routes.insert(controller, Proxy::start(&ports, InFlight::Lost).await?);
        }
        let others = (0..GROUPS).map(Route::Group);
        for route in others.chain([Route::Operators, Route::Viewer]) {
            routes.insert(route, Proxy::start(&ports, InFlight::Delivered).await?);
        }
        let urls: Vec<_> = servers.iter().map(Nats::url).collect();
        let mut processes = Self {
            dir: dir.to_owned(),
            size,
            small_disk,
            direct_urls: urls.join(","),
            passwords: servers[0].passwords().clone(),
            servers: servers.into_iter().map(Mutex::new).collect(),
            controllers: Vec::new(),
            groups: Vec::new(),
            routes,
            seed,
        };
        for number in 0..size.controllers {
            let controller = processes.spawn_controller(number)?;
            processes.controllers.push(Mutex::new(controller));
        }
        processes
            .connect_operator()
            .await?
            .wait_until_ready()
            .await?;
        for number in 0..GROUPS {
            let mut group = processes
                .spawn_group(number, &[&FAULTY_HOST_OPTIONS[..], &["--enroll"]].concat())?;
            group.wait_for_line("ready:").await?;
            processes.groups.push(Mutex::new(group));
        }
        Ok(processes)
    }

    /// Returns all hosts with their data directories, group by group.
    pub(crate) fn hosts(&self) -> Vec<(HostId, PathBuf)> {
        let hosts_of_group = |group: usize| {
            (1..=self.size.hosts).filter_map(move |host| {
                let id: HostId = format!("{}-{host:04}", host_prefix(group)).parse().ok()?;
                let dir = group_dir(&self.dir, group).join(id.as_str());
                Some((id, dir))
            })
        };
        (0..GROUPS).flat_map(hosts_of_group).collect()
    }

    /// Returns the paths of the controllers' logs.
    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        let log = |number| self.controller_dir(number).with_extension("log");
        (0..self.size.controllers).map(log).collect()
    }

    /// Connects an operator directly to the servers.
    pub(crate) async fn connect_operator(&self) -> Result<Client> {
        Client::connect_with(self.connect_options(Role::Operator), &self.direct_urls).await
    }

    /// Connects an operator through the operators' proxy.
    pub(crate) async fn connect_operator_via_proxy(&self) -> Result<Client> {
        let url = self.route(Route::Operators).url();
        Client::connect_with(self.connect_options(Role::Operator), &url).await
    }

    /// Returns options for connecting as `role`, and for reconnecting after a short delay.
    pub(crate) fn connect_options(&self, role: Role) -> async_nats::ConnectOptions {
        (self.passwords.connect_options(role))
            .reconnect_delay_callback(|_| Duration::from_millis(50))
    }

    /// Returns the URLs of the servers, separated by commas. Connections to them bypass the
    /// proxies.
    pub(crate) fn direct_urls(&self) -> &str {
        &self.direct_urls
    }

    /// Returns the proxy that a route passes through.
    ///
    /// # Panics
    /// If `route` is [`Route::Leader`]: the fault injector must replace it with
    /// [`Route::Controller`].
    pub(crate) fn route(&self, route: Route) -> &Proxy {
        &self.routes[&route]
    }

    /// Returns the index of each partition's leader: the controller whose log shows the most recent
    /// term that has not ended with a step-down. Omits the partition if that controller's metrics
    /// do not show that it leads any partition.
    pub(crate) async fn leaders(&self) -> BTreeMap<Partition, usize> {
        let mut latest = BTreeMap::new();
        for (number, controller) in self.controllers.iter().enumerate() {
            let printed = controller.lock().await.own_log();
            for (partition, since) in controller_log::leaders_since(&printed, self.size.partitions)
            {
                let known = latest.entry(partition).or_insert((since, number));
                *known = (*known).max((since, number));
            }
        }
        let mut is_leader = Vec::new();
        for number in 0..self.controllers.len() {
            is_leader.push(self.is_leader(number).await);
        }
        let leaders = latest
            .into_iter()
            .map(|(partition, (_, number))| (partition, number));
        leaders.filter(|(_, number)| is_leader[*number]).collect()
    }

    /// Returns whether a controller's metrics show that it leads at least one partition.
    async fn is_leader(&self, number: usize) -> bool {
        let address = Http::from_log(&self.controllers[number].lock().await.own_log());
        let Some(http) = address else { return false };
        let led = async { http.scrape().await?.value("scuttle_partitions_led") };
        let led = timeout(POLL_INTERVAL, led).await;
        led.is_ok_and(|led| led.is_ok_and(|led| led > 0.0))
    }

    /// Returns the number of the server that leads the stream of a partition's journal, or `None`
    /// if no server reports a leader.
    pub(crate) async fn leader_of_stream(&self, partition: Partition) -> Option<usize> {
        let monitors = self.monitors().await;
        let journal = subjects::journal_stream_name(partition);
        nats_cluster::find_stream_leader(&monitors, &journal)
            .await
            .ok()
    }

    /// Waits until the servers have formed a cluster again. Returns immediately if there is only
    /// one server.
    ///
    /// # Errors
    /// If the servers take longer than [`CLUSTER_TIMEOUT`].
    pub(crate) async fn wait_for_cluster(&self) -> Result<()> {
        if self.servers.len() == 1 {
            return Ok(());
        }
        let started_at = Instant::now();
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        loop {
            ticks.tick().await;
            let formed = nats_cluster::check_formed(&self.monitors().await).await;
            if formed.is_ok() || started_at.elapsed() > CLUSTER_TIMEOUT {
                return formed.context("the servers have not formed a cluster again");
            }
        }
    }

    /// Kills a program (SIGKILL).
    pub(crate) async fn kill(&self, program: Program) -> Result<()> {
        match program {
            Program::Nats(number) => self.servers[number].lock().await.kill().await,
            _ => self.process(program)?.lock().await.kill().await,
        }
    }

    /// Starts a killed program again with the same files.
    pub(crate) async fn restart(&self, program: Program) -> Result<()> {
        match program {
            Program::Nats(number) => return self.restart_nats(number).await,
            Program::Controller(number) => {
                *self.controllers[number].lock().await = self.spawn_controller(number)?;
            }
            Program::Group(number) => {
                *self.groups[number].lock().await =
                    self.spawn_group(number, &FAULTY_HOST_OPTIONS)?;
            }
            Program::Leader(_) | Program::NatsOfStream(_) => {}
        }
        Ok(())
    }

    /// Removes the data directory of a controller. The controller must not be running.
    pub(crate) fn erase_data(&self, program: Program) -> Result<()> {
        let Program::Controller(number) = program else {
            anyhow::bail!("{program:?} has no data directory to erase");
        };
        let dir = self.controller_dir(number);
        match std::fs::remove_dir_all(&dir) {
            // The program was killed before it created the directory again.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            result => result.with_context(|| format!("remove {}", dir.display())),
        }
    }

    /// Kills a group of simulated hosts and restarts it with neither faults nor redeployments.
    pub(crate) async fn restart_without_faults(&self, number: usize) -> Result<()> {
        let mut group = self.groups[number].lock().await;
        group.kill().await?;
        *group = self.spawn_group(number, &["--teardown-ms=100..500"])?;
        Ok(())
    }

    /// Sends a signal, such as `STOP`, to a program.
    pub(crate) async fn signal(&self, program: Program, name: &str) -> Result<()> {
        match program {
            Program::Nats(number) => {
                let mut server = self.servers[number].lock().await;
                server.process().send_signal(name).await
            }
            _ => self.process(program)?.lock().await.send_signal(name).await,
        }
    }

    /// Checks that a program has not exited by itself.
    ///
    /// # Errors
    /// If the program has exited. The error contains the program's log.
    pub(crate) async fn ensure_running(&self, program: Program) -> Result<()> {
        match program {
            Program::Nats(number) => self.servers[number].lock().await.process().ensure_running(),
            _ => self.process(program)?.lock().await.ensure_running(),
        }
    }

    /// Stops the simulated hosts (SIGTERM), and waits until they have exited.
    pub(crate) async fn stop_groups(&self) -> Result<()> {
        for group in &self.groups {
            stop(&mut *group.lock().await).await?;
        }
        Ok(())
    }

    /// Stops the controllers and then the servers (SIGTERM), and waits until all have exited.
    pub(crate) async fn stop_controllers_and_servers(&self) -> Result<()> {
        for controller in &self.controllers {
            stop(&mut *controller.lock().await).await?;
        }
        for server in &self.servers {
            server.lock().await.stop().await?;
        }
        Ok(())
    }

    fn process(&self, program: Program) -> Result<&Mutex<Process>> {
        match program {
            Program::Controller(number) => self.controllers.get(number),
            Program::Group(number) => self.groups.get(number),
            Program::Nats(_) | Program::NatsOfStream(_) | Program::Leader(_) => None,
        }
        .with_context(|| format!("{program:?} does not name a running process"))
    }

    async fn monitors(&self) -> Vec<Http> {
        let mut monitors = Vec::new();
        for server in &self.servers {
            monitors.extend(server.lock().await.monitor());
        }
        monitors
    }

    async fn restart_nats(&self, number: usize) -> Result<()> {
        let mut nats = self.servers[number].lock().await;
        let mut restarted = nats.restart().await;
        for _ in 1..MAX_START_ATTEMPTS {
            if restarted.is_ok() {
                break;
            }
            restarted = nats.restart().await;
        }
        nats.process().quiet = true;
        restarted.context("restart nats-server")
    }

    fn spawn_group(&self, number: usize, options: &[&str]) -> Result<Process> {
        let mut command = Command::new(program_path("scuttle-agent-sim"));
        command
            .args(["--nats-url", &self.route(Route::Group(number)).url()])
            .args(["--host-prefix", &host_prefix(number)])
            .args(["--hosts", &self.size.hosts.to_string()])
            .args(["--deckies-per-host", &DECKIES.to_string()])
            .args(["--seed", &self.seed.to_string()])
            .args(["--heartbeat-ms", &self.size.heartbeat_ms.to_string()])
            .args(options)
            .arg("--data-dir")
            .arg(group_dir(&self.dir, number))
            .envs(self.passwords.environment(Role::Agents))
            .env("SCUTTLE_OPERATOR_USER", Role::Operator.user())
            .env(
                "SCUTTLE_OPERATOR_PASSWORD",
                self.passwords.password(Role::Operator),
            );
        let log = group_dir(&self.dir, number).with_extension("log");
        Process::spawn("a group of hosts", command, &log).map(hide_output)
    }

    fn spawn_controller(&self, number: usize) -> Result<Process> {
        let dir = self.controller_dir(number);
        let mut command = Controller::command();
        command
            .args(["--nats-url", &self.route(Route::Controller(number)).url()])
            .arg("--data-dir")
            .arg(&dir)
            .envs(self.passwords.environment(Role::Controller));
        if self.size.controllers > 1 {
            command.args(["--store", "jetstream", "--http", "127.0.0.1:0"]);
            command.args(["--replicas", &self.size.servers.to_string()]);
            command.args(["--partitions", &self.size.partitions.to_string()]);
        }
        Process::spawn("the controller", command, &dir.with_extension("log")).map(hide_output)
    }

    fn controller_dir(&self, number: usize) -> PathBuf {
        self.dir.join(match self.size.controllers {
            1 => "controller".to_owned(),
            _ => format!("controller-{number}"),
        })
    }
}

/// Returns the path at which the small disk is mounted: the store directory of one server in the
/// run's directory `dir`.
pub(crate) fn small_store_dir(dir: &Path) -> PathBuf {
    let server = NAMES[SERVER_WITH_SMALL_DISK];
    dir.join("nats").join(server).join("store")
}

async fn start_servers(dir: &Path, size: Scale) -> Result<Vec<Nats>> {
    std::fs::create_dir_all(dir)?;
    if size.servers == 1 {
        return Ok(vec![Nats::start_in(dir, str::to_owned).await?]);
    }
    nats_cluster::start(dir, str::to_owned).await
}

/// Keeps a process's output out of the terminal. The process's log file still contains all output.
fn hide_output(mut process: Process) -> Process {
    process.quiet = true;
    process
}

async fn stop(process: &mut Process) -> Result<()> {
    process.send_signal("TERM").await?;
    process.wait_for_exit().await?;
    Ok(())
}

fn host_prefix(group: usize) -> String {
    format!("g{group:02}")
}

fn group_dir(dir: &Path, group: usize) -> PathBuf {
    dir.join(host_prefix(group))
}
