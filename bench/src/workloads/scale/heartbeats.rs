//! The cost of ten thousand agents that report every second that nothing has changed: the
//! controller's CPU time, and the delay of teardown requests.

use std::time::Duration;

use anyhow::Result;
use scuttle_schemas::subjects;
use serde::Serialize;

use crate::environment::shared::Environment;
use crate::environment::swarm::RunningSwarm;
use crate::load::driver::Generator;
use crate::load::outcome::LoadOutcome;
use crate::load::spec::{LoadSpec, Pace, RequestKind};
use crate::report::samples::median;
use crate::report::summary::Report;
use crate::workloads::scale::sizes::HOSTS;

/// The duration of the phase with only heartbeats.
const ALONE: Duration = Duration::from_secs(3);
/// The duration of the phase in which teardowns are requested, one at a time.
const REQUESTING: Duration = Duration::from_millis(500);
/// The duration of the heartbeats before the first teardown request, and after the last one.
const MARGIN: Duration = Duration::from_millis(500);

/// The figures of one round in which only heartbeats were sent.
#[derive(Debug, Serialize)]
struct AloneRound {
    /// The controller's CPU time as a fraction of one core.
    share: f64,
    /// The nats-server's CPU time as a fraction of one core.
    server_share: f64,
    heartbeats_per_second: f64,
    heartbeat_p99_us: f64,
}

/// The median latency of teardown requests in one round, without and with heartbeats.
#[derive(Debug, Serialize)]
struct AcceptRound {
    idle_p50_us: f64,
    heard_p50_us: f64,
}

/// Measures all rounds with only heartbeats first. The teardown requests come last, because they
/// create operations that stay open and whose commands are resent.
pub(super) async fn run(
    environment: &mut Environment,
    report: &mut Report,
    swarm: &RunningSwarm,
) -> Result<()> {
    // The first heartbeat that a controller receives from a host must list everything.
    swarm
        .data
        .report_all_inventories(&environment.client, 2)
        .await?;
    let mut agents = Generator::start()?;
    let (mut used_deckies, mut sequence) = (0, 3);
    let (mut alone, mut accepting) = (Vec::new(), Vec::new());
    let mut next_heartbeats = |environment: &Environment, time: Duration| {
        let load = heartbeats(environment, swarm, sequence, time);
        sequence += time.as_secs() + 1;
        load
    };
    for _ in 0..environment.options.rounds {
        let outcome = agents.run(&next_heartbeats(environment, ALONE)?).await?;
        alone.push(AloneRound {
            share: outcome.cpu[2] / ALONE.as_secs_f64(),
            server_share: outcome.cpu[1] / ALONE.as_secs_f64(),
            heartbeats_per_second: outcome.per_second(),
            heartbeat_p99_us: outcome.latency_us(0.99),
        });
    }
    for _ in 0..environment.options.rounds {
        let load = next_heartbeats(environment, MARGIN + REQUESTING + MARGIN)?;
        let idle = accept(environment, swarm, &mut used_deckies).await?;
        let (sent, accepted) = tokio::join!(agents.run(&load), async {
            tokio::time::sleep(MARGIN).await;
            accept(environment, swarm, &mut used_deckies).await
        });
        sent?;
        accepting.push(AcceptRound {
            idle_p50_us: idle.latency_us(0.5),
            heard_p50_us: accepted?.latency_us(0.5),
        });
    }
    show(report, &alone, &accepting)
}

fn show(report: &mut Report, alone: &[AloneRound], accepting: &[AcceptRound]) -> Result<()> {
    let median_alone = |figure: fn(&AloneRound) -> f64| median(alone.iter().map(figure).collect());
    let median_accept =
        |figure: fn(&AcceptRound) -> f64| median(accepting.iter().map(figure).collect());
    let share = median_alone(|round| round.share)?;
    report.print_line(&format!(
        "heartbeats: {:.0} per second, with a reply within {:.1} ms (p99), take {:.0} % of a core, and {:.0} % \
         in the nats-server; an accept takes {:.0} µs (p50) meanwhile, {:.0} µs without heartbeats",
        median_alone(|round| round.heartbeats_per_second)?,
        median_alone(|round| round.heartbeat_p99_us)? / 1e3,
        share * 100.0,
        median_alone(|round| round.server_share)? * 100.0,
        median_accept(|round| round.heard_p50_us)?,
        median_accept(|round| round.idle_p50_us)?
    ));
    let unit = "of one core in the controller";
    report.expect_at_most("10,000 heartbeats/s", unit, 0.25, share);
    let slowdown = median_accept(|round| round.heard_p50_us / round.idle_p50_us)?;
    report.expect_at_most(
        "accept p50 during 10,000 heartbeats/s",
        "× p50 of idle",
        1.5,
        slowdown,
    );
    report.record("heartbeats", &alone)?;
    report.record("accepts_beside_heartbeats", &accepting)
}

/// Returns a load in which each host sends one heartbeat per second.
fn heartbeats(
    environment: &Environment,
    swarm: &RunningSwarm,
    sequence: u64,
    time: Duration,
) -> Result<LoadSpec> {
    let kind = swarm.data.heartbeats(sequence);
    let pace = Pace::PerSecond(HOSTS);
    let mut load = environment.load(kind, "", swarm.data.targets(), pace)?;
    load.millis = time.as_millis() as u64;
    load.watch.push(swarm.id()?);
    Ok(load)
}

/// Requests teardowns one at a time, each for a different decky. Skips the first `used_deckies`
/// deckies, and adds the number of requests to `used_deckies`.
async fn accept(
    environment: &mut Environment,
    swarm: &RunningSwarm,
    used_deckies: &mut usize,
) -> Result<LoadOutcome> {
    let mut targets = swarm.data.targets();
    targets.skip = *used_deckies;
    let pace = Pace::InFlight(1);
    let mut load = environment.load(RequestKind::Accept, subjects::TEARDOWN, targets, pace)?;
    load.millis = REQUESTING.as_millis() as u64;
    let outcome = environment.generator.run(&load).await?;
    *used_deckies += outcome.requests;
    Ok(outcome)
}
