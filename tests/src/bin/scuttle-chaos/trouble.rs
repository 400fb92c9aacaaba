//! Makes the planned faults happen, and undoes each: what was killed is started, what was stopped goes on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::faults::{Actor, Fault, Planned, Road};
use crate::stage::{GROUPS, Stage};
use crate::tally::Tally;
use scuttle_tests::proxy::Weather;
use scuttle_tests::wait::lock;

/// What a fault is about: one at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Actor(Actor),
    Road(Road),
}

/// Makes all faults happen at their times. On return all of them are over, and everything runs.
///
/// # Errors
/// Something ended by itself, or cannot be started again.
pub(crate) async fn make(
    stage: &Arc<Stage>,
    tally: &Arc<Tally>,
    planned: Vec<Planned>,
) -> Result<()> {
    let begun = Instant::now();
    let busy = Arc::new(Mutex::new(BTreeSet::new()));
    let mut under_way = JoinSet::new();
    for Planned { at, fault } in planned {
        sleep_until(begun + at).await;
        while let Some(done) = under_way.try_join_next() {
            done.context("a fault's task died").flatten()?;
        }
        let target = target(&fault);
        if !lock(&busy).insert(target) {
            tally.count("skipped");
            continue;
        }
        let (stage, tally, busy) = (stage.clone(), tally.clone(), busy.clone());
        under_way.spawn(async move {
            let done = happen(&stage, &tally, fault).await;
            lock(&busy).remove(&target);
            done.with_context(|| format!("{fault:?}"))
        });
    }
    while let Some(done) = under_way.join_next().await {
        done.context("a fault's task died").flatten()?;
    }
    Ok(())
}

/// Every program that can be killed.
pub(crate) fn actors() -> impl Iterator<Item = Actor> {
    (0..GROUPS)
        .map(Actor::Group)
        .chain([Actor::Controller, Actor::Nats])
}

fn target(fault: &Fault) -> Target {
    match *fault {
        Fault::Kill(actor, _) | Fault::Stop(actor, _) => Target::Actor(actor),
        Fault::Cut(road) | Fault::Weather(road, ..) | Fault::Partition(road, _) => {
            Target::Road(road)
        }
    }
}

async fn happen(stage: &Stage, tally: &Tally, fault: Fault) -> Result<()> {
    match fault {
        Fault::Kill(actor, down) => {
            stage.alive(actor).await?;
            tally.count(match actor {
                Actor::Nats => "nats-server killed",
                Actor::Controller => "controller killed",
                Actor::Group(_) => "host groups killed",
            });
            stage.kill(actor).await?;
            pause(down).await;
            stage.start_again(actor).await?;
            tally.count("started again");
        }
        Fault::Stop(actor, time) => {
            tally.count(match actor {
                Actor::Nats => "nats-server stopped",
                Actor::Controller => "controller stopped",
                Actor::Group(_) => "host groups stopped",
            });
            stage.signal(actor, "STOP").await?;
            pause(time).await;
            stage.signal(actor, "CONT").await?;
        }
        Fault::Cut(road) => {
            tally.count("cuts");
            stage.road(road).cut();
        }
        Fault::Weather(road, weather, time) => {
            tally.count(if weather.stalled { "stalls" } else { "delays" });
            stage.road(road).set(weather);
            pause(time).await;
            stage.road(road).set(Weather::default());
        }
        Fault::Partition(road, time) => {
            tally.count("partitions");
            let refused = Weather {
                refused: true,
                ..Weather::default()
            };
            stage.road(road).set(refused);
            stage.road(road).cut();
            pause(time).await;
            stage.road(road).set(Weather::default());
        }
    }
    Ok(())
}

async fn pause(time: Duration) {
    sleep_until(Instant::now() + time).await;
}
