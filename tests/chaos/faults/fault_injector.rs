//! Injects the planned faults, and undoes each of them: restarts killed programs, resumes stopped
//! programs, and restores the network.
//!
//! A fault that is planned for a leader hits the program that leads when the fault begins.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use scuttle_tests::faults::proxy::NetworkConditions;
use scuttle_tests::wait::{current_timestamp, lock};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::cluster::processes::{Processes, SERVER_WITH_SMALL_DISK};
use crate::cluster::scale::{GROUPS, Scale};
use crate::cluster::targets::{Program, Route};
use crate::counters::Counters;
use crate::faults::plan::{Fault, Planned};
use crate::observers::availability::Availability;
use crate::outages::ServerOutage;

/// The target of a fault. At most one fault is active on a target at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Program(Program),
    Route(Route),
    /// All servers together, because a cluster tolerates the loss of only one server.
    Servers,
}

/// The injector of faults. Clones share all state.
#[derive(Clone)]
pub(crate) struct FaultInjector {
    pub(crate) processes: Arc<Processes>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) availability: Arc<Availability>,
    /// The periods during which a server was down or separated from its cluster.
    pub(crate) server_outages: Arc<Mutex<Vec<ServerOutage>>>,
}

/// Returns all groups of hosts, controllers and servers of a run of this size.
pub(crate) fn all_programs(size: Scale) -> impl Iterator<Item = Program> {
    let controllers = (0..size.controllers).map(Program::Controller);
    let servers = (0..size.servers).map(Program::Nats);
    (0..GROUPS)
        .map(Program::Group)
        .chain(controllers)
        .chain(servers)
}

fn target_of(fault: &Fault) -> Target {
    match *fault {
        Fault::Kill(Program::Nats(_), _)
        | Fault::Stop(Program::Nats(_), _)
        | Fault::FullDisk(_) => Target::Servers,
        Fault::Kill(program, _) | Fault::KillAndEraseData(program, _) | Fault::Stop(program, _) => {
            Target::Program(program)
        }
        Fault::Disconnect(route) | Fault::Degrade(route, ..) | Fault::Partition(route, _) => {
            Target::Route(route)
        }
    }
}

impl FaultInjector {
    /// Injects all faults at their planned times. Returns after the last fault has been undone.
    ///
    /// A fault is counted and skipped if its target does not exist now or is already faulty.
    ///
    /// # Errors
    /// If a program has exited by itself, or a fault cannot be injected or undone.
    pub(crate) async fn run(&self, planned: Vec<Planned>) -> Result<()> {
        let started_at = Instant::now();
        let active_targets = Arc::new(Mutex::new(BTreeSet::new()));
        let mut running = JoinSet::new();
        for Planned { at, fault } in planned {
            sleep_until(started_at + at).await;
            while let Some(done) = running.try_join_next() {
                done.context("a fault's task panicked").flatten()?;
            }
            let Some(fault) = self.resolve(fault).await else {
                self.counters.increment("no leader");
                continue;
            };
            let target = target_of(&fault);
            if !lock(&active_targets).insert(target) {
                self.counters.increment("skipped");
                continue;
            }
            let (injector, active_targets) = (self.clone(), active_targets.clone());
            running.spawn(async move {
                let done = injector.inject(fault).await;
                lock(&active_targets).remove(&target);
                done.with_context(|| format!("{fault:?}"))
            });
        }
        while let Some(done) = running.join_next().await {
            done.context("a fault's task panicked").flatten()?;
        }
        Ok(())
    }

    /// If a fault targets a leader, replaces that target with the program that leads now. Leaves
    /// other targets unchanged. Returns `None` if the fault needs a leader or a small disk that
    /// does not exist.
    async fn resolve(&self, fault: Fault) -> Option<Fault> {
        let program = async |program| {
            Some(match program {
                Program::Leader(partition) => {
                    Program::Controller(*self.processes.leaders().await.get(&partition)?)
                }
                Program::NatsOfStream(partition) => {
                    Program::Nats(self.processes.leader_of_stream(partition).await?)
                }
                other => other,
            })
        };
        let route = async |route| {
            Some(match route {
                Route::Leader(partition) => {
                    Route::Controller(*self.processes.leaders().await.get(&partition)?)
                }
                other => other,
            })
        };
        Some(match fault {
            Fault::Kill(program_kind, time) => Fault::Kill(program(program_kind).await?, time),
            Fault::KillAndEraseData(program_kind, time) => {
                Fault::KillAndEraseData(program(program_kind).await?, time)
            }
            Fault::Stop(program_kind, time) => Fault::Stop(program(program_kind).await?, time),
            Fault::Disconnect(route_kind) => Fault::Disconnect(route(route_kind).await?),
            Fault::Degrade(route_kind, conditions, time) => {
                Fault::Degrade(route(route_kind).await?, conditions, time)
            }
            Fault::Partition(route_kind, time) => Fault::Partition(route(route_kind).await?, time),
            Fault::FullDisk(time) => {
                self.processes.small_disk.as_ref()?;
                Fault::FullDisk(time)
            }
        })
    }

    async fn inject(&self, fault: Fault) -> Result<()> {
        let from = current_timestamp();
        match fault {
            Fault::Kill(program, down) => self.kill(program, down, || Ok(())).await?,
            Fault::KillAndEraseData(program, down) => {
                self.counters.increment("data lost");
                let erase = || self.processes.erase_data(program);
                self.kill(program, down, erase).await?;
            }
            Fault::Stop(program, time) => {
                self.counters.increment(match program {
                    Program::Nats(_) | Program::NatsOfStream(_) => "nats-server stopped",
                    Program::Controller(_) | Program::Leader(_) => "controller stopped",
                    Program::Group(_) => "host groups stopped",
                });
                self.processes.signal(program, "STOP").await?;
                wait(time).await;
                self.processes.signal(program, "CONT").await?;
            }
            Fault::Disconnect(route) => {
                self.counters.increment("disconnects");
                self.processes.route(route).close_connections();
            }
            Fault::Degrade(route, conditions, time) => {
                self.counters.increment(if conditions.stalled {
                    "stalls"
                } else {
                    "delays"
                });
                self.processes.route(route).set_conditions(conditions);
                wait(time).await;
                self.processes
                    .route(route)
                    .set_conditions(NetworkConditions::default());
            }
            Fault::Partition(route, time) => {
                self.counters.increment("partitions");
                self.processes.route(route).disconnect();
                wait(time).await;
                self.processes
                    .route(route)
                    .set_conditions(NetworkConditions::default());
            }
            Fault::FullDisk(time) => self.fill_disk(time).await?,
        }
        if target_of(&fault) == Target::Servers {
            self.processes.wait_for_cluster().await?;
            lock(&self.server_outages).push(ServerOutage {
                from,
                to: current_timestamp(),
            });
        }
        Ok(())
    }

    /// Kills a program, waits for the duration `down`, calls `while_down`, and restarts the
    /// program. Records the kill for each partition that the program led.
    async fn kill(
        &self,
        program: Program,
        down: Duration,
        while_down: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        self.processes.ensure_running(program).await?;
        self.counters.increment(match program {
            Program::Nats(_) | Program::NatsOfStream(_) => "nats-server killed",
            Program::Controller(_) | Program::Leader(_) => "controller killed",
            Program::Group(_) => "host groups killed",
        });
        let led: Vec<_> = match program {
            Program::Controller(number) => {
                let leaders = self.processes.leaders().await.into_iter();
                let led = leaders.filter(|(_, leader)| *leader == number);
                led.map(|(partition, _)| partition).collect()
            }
            _ => Vec::new(),
        };
        let requested_at = Instant::now();
        self.processes.kill(program).await?;
        for partition in led {
            self.availability.note_kill(partition, requested_at);
        }
        wait(down).await;
        while_down()?;
        self.processes.restart(program).await?;
        self.counters.increment("restarted");
        Ok(())
    }

    /// Fills the small disk for `time`, frees it, then kills and restarts its server. A server
    /// whose disk was full stops using its store, and catches up with the others only after a
    /// restart.
    async fn fill_disk(&self, time: Duration) -> Result<()> {
        let server = Program::Nats(SERVER_WITH_SMALL_DISK);
        let disk = self
            .processes
            .small_disk
            .as_ref()
            .context("there is no small disk")?;
        self.counters.increment("disks filled");
        disk.fill()?;
        wait(time).await;
        disk.free()?;
        self.processes.kill(server).await?;
        self.processes.restart(server).await
    }
}

async fn wait(time: Duration) {
    sleep_until(Instant::now() + time).await;
}
