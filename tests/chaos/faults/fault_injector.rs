//! Makes the planned faults happen, to whoever leads where that was planned, and undoes each: what was killed is started, what
//! was stopped goes on.

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

/// What a fault is about: one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Program(Program),
    Route(Route),
    /// A cluster goes on without one of its servers, not without two.
    Servers,
}

/// What takes part in every fault.
#[derive(Clone)]
pub(crate) struct FaultInjector {
    pub(crate) processes: Arc<Processes>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) availability: Arc<Availability>,
    /// When a server of several was missing.
    pub(crate) server_outages: Arc<Mutex<Vec<ServerOutage>>>,
}

/// Every program that can be killed.
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
        Fault::Cut(route) | Fault::Degrade(route, ..) | Fault::Partition(route, _) => {
            Target::Route(route)
        }
    }
}

impl FaultInjector {
    /// Makes all faults happen at their times. On return all of them are over, and everything runs.
    ///
    /// # Errors
    /// Something ended by itself, or cannot be started again.
    pub(crate) async fn run(&self, planned: Vec<Planned>) -> Result<()> {
        let started_at = Instant::now();
        let active_targets = Arc::new(Mutex::new(BTreeSet::new()));
        let mut running = JoinSet::new();
        for Planned { at, fault } in planned {
            sleep_until(started_at + at).await;
            while let Some(done) = running.try_join_next() {
                done.context("a fault's task died").flatten()?;
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
            done.context("a fault's task died").flatten()?;
        }
        Ok(())
    }

    /// The fault with whoever leads now in it; none if nobody does.
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
            Fault::Cut(route_kind) => Fault::Cut(route(route_kind).await?),
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
            Fault::Cut(route) => {
                self.counters.increment("cuts");
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

    /// Kills it, and starts it again after a pause; `while_down` is done while there is none of it.
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
        let ordered = Instant::now();
        self.processes.kill(program).await?;
        for partition in led {
            self.availability.note_kill(partition, ordered);
        }
        wait(down).await;
        while_down()?;
        self.processes.restart(program).await?;
        self.counters.increment("started again");
        Ok(())
    }

    /// A server that has no room does without its store from then on; started again, it has what the others have.
    async fn fill_disk(&self, time: Duration) -> Result<()> {
        let server = Program::Nats(SERVER_WITH_SMALL_DISK);
        let disk = self.processes.small_disk.as_ref().context("a small disk")?;
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
