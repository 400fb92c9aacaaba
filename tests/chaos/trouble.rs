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

use crate::downs::Away;
use crate::faults::{Actor, Fault, Planned, Road};
use crate::service::Service;
use crate::stage::{GROUPS, SERVER_WITH_SMALL_DISK, Size, Stage};
use crate::tally::Tally;

/// What a fault is about: one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Actor(Actor),
    Road(Road),
    /// A cluster goes on without one of its servers, not without two.
    Servers,
}

/// What takes part in every fault.
#[derive(Clone)]
pub(crate) struct Trouble {
    pub(crate) stage: Arc<Stage>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) service: Arc<Service>,
    /// When a server of several was missing.
    pub(crate) away: Arc<Mutex<Vec<Away>>>,
}

/// Every program that can be killed.
pub(crate) fn actors(size: Size) -> impl Iterator<Item = Actor> {
    let controllers = (0..size.controllers).map(Actor::Controller);
    let servers = (0..size.servers).map(Actor::Nats);
    (0..GROUPS)
        .map(Actor::Group)
        .chain(controllers)
        .chain(servers)
}

fn target(fault: &Fault) -> Target {
    match *fault {
        Fault::Kill(Actor::Nats(_), _) | Fault::Stop(Actor::Nats(_), _) | Fault::FullDisk(_) => {
            Target::Servers
        }
        Fault::Kill(actor, _) | Fault::Lose(actor, _) | Fault::Stop(actor, _) => {
            Target::Actor(actor)
        }
        Fault::Cut(road) | Fault::Weather(road, ..) | Fault::Partition(road, _) => {
            Target::Road(road)
        }
    }
}

impl Trouble {
    /// Makes all faults happen at their times. On return all of them are over, and everything runs.
    ///
    /// # Errors
    /// Something ended by itself, or cannot be started again.
    pub(crate) async fn make(&self, planned: Vec<Planned>) -> Result<()> {
        let begun = Instant::now();
        let busy = Arc::new(Mutex::new(BTreeSet::new()));
        let mut under_way = JoinSet::new();
        for Planned { at, fault } in planned {
            sleep_until(begun + at).await;
            while let Some(done) = under_way.try_join_next() {
                done.context("a fault's task died").flatten()?;
            }
            let Some(fault) = self.meant(fault).await else {
                self.tally.count("no leader");
                continue;
            };
            let target = target(&fault);
            if !lock(&busy).insert(target) {
                self.tally.count("skipped");
                continue;
            }
            let (trouble, busy) = (self.clone(), busy.clone());
            under_way.spawn(async move {
                let done = trouble.happen(fault).await;
                lock(&busy).remove(&target);
                done.with_context(|| format!("{fault:?}"))
            });
        }
        while let Some(done) = under_way.join_next().await {
            done.context("a fault's task died").flatten()?;
        }
        Ok(())
    }

    /// The fault with whoever leads now in it; none if nobody does.
    async fn meant(&self, fault: Fault) -> Option<Fault> {
        let actor = async |actor| {
            Some(match actor {
                Actor::Leader(of) => Actor::Controller(*self.stage.leaders().await.get(&of)?),
                Actor::NatsOfStream(of) => Actor::Nats(self.stage.leader_of_stream(of).await?),
                other => other,
            })
        };
        let road = async |road| {
            Some(match road {
                Road::Leader(of) => Road::Controller(*self.stage.leaders().await.get(&of)?),
                other => other,
            })
        };
        Some(match fault {
            Fault::Kill(who, time) => Fault::Kill(actor(who).await?, time),
            Fault::Lose(who, time) => Fault::Lose(actor(who).await?, time),
            Fault::Stop(who, time) => Fault::Stop(actor(who).await?, time),
            Fault::Cut(way) => Fault::Cut(road(way).await?),
            Fault::Weather(way, weather, time) => Fault::Weather(road(way).await?, weather, time),
            Fault::Partition(way, time) => Fault::Partition(road(way).await?, time),
            Fault::FullDisk(time) => {
                self.stage.small_disk.as_ref()?;
                Fault::FullDisk(time)
            }
        })
    }

    async fn happen(&self, fault: Fault) -> Result<()> {
        let from = current_timestamp();
        match fault {
            Fault::Kill(actor, down) => self.kill(actor, down, || Ok(())).await?,
            Fault::Lose(actor, down) => {
                self.tally.count("data lost");
                let lose = || self.stage.lose_data(actor);
                self.kill(actor, down, lose).await?;
            }
            Fault::Stop(actor, time) => {
                self.tally.count(match actor {
                    Actor::Nats(_) | Actor::NatsOfStream(_) => "nats-server stopped",
                    Actor::Controller(_) | Actor::Leader(_) => "controller stopped",
                    Actor::Group(_) => "host groups stopped",
                });
                self.stage.signal(actor, "STOP").await?;
                pause(time).await;
                self.stage.signal(actor, "CONT").await?;
            }
            Fault::Cut(road) => {
                self.tally.count("cuts");
                self.stage.road(road).close_connections();
            }
            Fault::Weather(road, weather, time) => {
                self.tally
                    .count(if weather.stalled { "stalls" } else { "delays" });
                self.stage.road(road).set_conditions(weather);
                pause(time).await;
                self.stage
                    .road(road)
                    .set_conditions(NetworkConditions::default());
            }
            Fault::Partition(road, time) => {
                self.tally.count("partitions");
                self.stage.road(road).disconnect();
                pause(time).await;
                self.stage
                    .road(road)
                    .set_conditions(NetworkConditions::default());
            }
            Fault::FullDisk(time) => self.fill_disk(time).await?,
        }
        if target(&fault) == Target::Servers {
            self.stage.one_again().await?;
            lock(&self.away).push(Away {
                from,
                to: current_timestamp(),
            });
        }
        Ok(())
    }

    /// Kills it, and starts it again after a pause; `meanwhile` is done while there is none of it.
    async fn kill(
        &self,
        actor: Actor,
        down: Duration,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        self.stage.alive(actor).await?;
        self.tally.count(match actor {
            Actor::Nats(_) | Actor::NatsOfStream(_) => "nats-server killed",
            Actor::Controller(_) | Actor::Leader(_) => "controller killed",
            Actor::Group(_) => "host groups killed",
        });
        let led: Vec<_> = match actor {
            Actor::Controller(number) => {
                let leaders = self.stage.leaders().await.into_iter();
                let led = leaders.filter(|(_, leader)| *leader == number);
                led.map(|(partition, _)| partition).collect()
            }
            _ => Vec::new(),
        };
        let ordered = Instant::now();
        self.stage.kill(actor).await?;
        for partition in led {
            self.service.killed(partition, ordered);
        }
        pause(down).await;
        meanwhile()?;
        self.stage.start_again(actor).await?;
        self.tally.count("started again");
        Ok(())
    }

    /// A server that has no room does without its store from then on; started again, it has what the others have.
    async fn fill_disk(&self, time: Duration) -> Result<()> {
        let server = Actor::Nats(SERVER_WITH_SMALL_DISK);
        let disk = self.stage.small_disk.as_ref().context("a small disk")?;
        self.tally.count("disks filled");
        disk.fill()?;
        pause(time).await;
        disk.free()?;
        self.stage.kill(server).await?;
        self.stage.start_again(server).await
    }
}

async fn pause(time: Duration) {
    sleep_until(Instant::now() + time).await;
}
