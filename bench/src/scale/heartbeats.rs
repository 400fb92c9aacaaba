//! Ten thousand agents that say each second that nothing has changed: what that costs the controller, and who waits for it.

use std::time::Duration;

use anyhow::Result;
use scuttle_schemas::subjects;
use serde::Serialize;

use super::HOSTS;
use crate::load::{Generator, Load, Order, Pace, What};
use crate::report::Report;
use crate::samples::median;
use crate::stage::Stage;
use crate::swarm::Swarm;

/// How long they are heard alone.
const ALONE: Duration = Duration::from_secs(3);
/// How long somebody asks for teardowns meanwhile, one at a time.
const ASKED: Duration = Duration::from_millis(500);
/// How much longer they are heard then, before and after.
const AROUND: Duration = Duration::from_millis(500);

/// They alone.
#[derive(Debug, Serialize)]
struct Alone {
    /// Of one core: the controller's.
    share: f64,
    /// And the nats-server's.
    server_share: f64,
    heartbeats_per_second: f64,
    heartbeat_p99_us: f64,
}

/// An accept without them, and beside them.
#[derive(Debug, Serialize)]
struct Beside {
    idle_p50_us: f64,
    heard_p50_us: f64,
}

/// Measures and reports. First all rounds of them alone: a teardown that was asked for is open ever after, and its command
/// is sent again and again.
pub(super) async fn run(stage: &mut Stage, report: &mut Report, swarm: &Swarm) -> Result<()> {
    // The first of a controller's life lists everything, as an agent's does.
    swarm.stored.report_all(&stage.client, 2).await?;
    let mut agents = Generator::start()?;
    let (mut asked, mut sequence) = (0, 3);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let mut heard = |stage: &Stage, time: Duration| {
        let order = heartbeats(stage, swarm, sequence, time);
        sequence += time.as_secs() + 1;
        order
    };
    for _ in 0..stage.how.rounds {
        let load = agents.carry_out(&heard(stage, ALONE)?).await?;
        alone.push(Alone {
            share: load.cpu[2] / ALONE.as_secs_f64(),
            server_share: load.cpu[1] / ALONE.as_secs_f64(),
            heartbeats_per_second: load.per_second(),
            heartbeat_p99_us: load.micros(0.99),
        });
    }
    for _ in 0..stage.how.rounds {
        let during = heard(stage, AROUND + ASKED + AROUND)?;
        let idle = accepts(stage, swarm, &mut asked).await?;
        let (heard, accepted) = tokio::join!(agents.carry_out(&during), async {
            // They are heard from before the first is asked until after the last.
            tokio::time::sleep(AROUND).await;
            accepts(stage, swarm, &mut asked).await
        });
        heard?;
        beside.push(Beside {
            idle_p50_us: idle.micros(0.5),
            heard_p50_us: accepted?.micros(0.5),
        });
    }
    let of_alone = |figure: fn(&Alone) -> f64| median(alone.iter().map(figure).collect());
    let of_beside = |figure: fn(&Beside) -> f64| median(beside.iter().map(figure).collect());
    let share = of_alone(|round| round.share)?;
    report.say(&format!(
        "heartbeats: {:.0} a second, answered within {:.1} ms (p99), take {:.0} % of a core, and {:.0} % in the nats-server; an accept takes {:.0} µs (p50) meanwhile, {:.0} µs without",
        of_alone(|round| round.heartbeats_per_second)?,
        of_alone(|round| round.heartbeat_p99_us)? / 1e3,
        share * 100.0,
        of_alone(|round| round.server_share)? * 100.0,
        of_beside(|round| round.heard_p50_us)?,
        of_beside(|round| round.idle_p50_us)?
    ));
    let unit = "of one core in the controller";
    report.at_most("10,000 heartbeats/s", unit, 0.25, share);
    let slower = of_beside(|round| round.heard_p50_us / round.idle_p50_us)?;
    report.at_most(
        "accept p50 beside 10,000 heartbeats/s",
        "× p50 of idle",
        1.5,
        slower,
    );
    report.keep("heartbeats", &alone)?;
    report.keep("accepts_beside_heartbeats", &beside)
}

/// One from each host each second.
fn heartbeats(stage: &Stage, swarm: &Swarm, sequence: u64, time: Duration) -> Result<Order> {
    let what = swarm.stored.heartbeats(sequence);
    let mut order = stage.order(what, "", swarm.stored.targets(), Pace::PerSecond(HOSTS))?;
    order.millis = time.as_millis() as u64;
    order.watch.push(swarm.id()?);
    Ok(order)
}

/// One after another, each of another decky.
async fn accepts(stage: &mut Stage, swarm: &Swarm, asked: &mut usize) -> Result<Load> {
    let mut targets = swarm.stored.targets();
    targets.skip = *asked;
    let pace = Pace::InFlight(1);
    let mut order = stage.order(What::Accepted, subjects::TEARDOWN, targets, pace)?;
    order.millis = ASKED.as_millis() as u64;
    let load = stage.generator.carry_out(&order).await?;
    *asked += load.made;
    Ok(load)
}
