//! `accept`: durable accepts a second, beside a bare echo service's answers and the disk's appends.
//!
//! Each time the controller is a new one, so that nothing carries what was accepted before.

use anyhow::{Context, Result};
use scuttle_schemas::subjects;

use crate::disk;
use crate::echo::{self, Own};
use crate::load::{Pace, What};
use crate::report::Report;
use crate::samples::{DISK, Sample, Samples, turned};
use crate::stage::Stage;
use crate::swarm::Swarm;

pub(crate) const NAME: &str = "accept";

/// How many requests wait for their answer.
const IN_FLIGHT: [u16; 4] = [1, 32, 256, 1024];

/// Measures and reports.
pub(crate) async fn run(stage: &mut Stage, report: &mut Report) -> Result<()> {
    let echo = Own::start(stage, echo::NAME, &[]).await?;
    let mut samples = Samples::default();
    for round in 0..stage.how.rounds {
        let appends = disk::appends(stage.dir())?;
        samples.0.push(Sample::of_disk(round, appends));
        for in_flight in turned(&IN_FLIGHT, round) {
            for name in turned(&[echo::NAME, NAME], round) {
                let sample = if name == NAME {
                    let shards = shards(stage, &samples, in_flight);
                    ask(stage, in_flight, round, shards).await
                } else {
                    echo::ask(&echo, stage, in_flight, round).await
                };
                samples.0.push(sample.with_context(|| name)?);
            }
        }
    }
    let lines: Vec<_> = [echo::NAME, NAME]
        .into_iter()
        .flat_map(|name| IN_FLIGHT.map(|in_flight| (name, in_flight)))
        .chain([(DISK, 1)])
        .collect();
    report.table(
        "Durable accepts beside a bare echo service",
        &samples,
        &lines,
    )?;
    reach(report, &samples)?;
    report.keep(NAME, &samples)
}

fn reach(report: &mut Report, samples: &Samples) -> Result<()> {
    let beside_echo = |in_flight, figure: fn(&Sample) -> f64| {
        let ratio = |one: &Sample, other: &Sample| figure(one) / figure(other);
        samples.paired((NAME, in_flight), (echo::NAME, in_flight), ratio)
    };
    let rate = beside_echo(256, |sample| sample.per_second)?;
    report.at_least("durable accepts/s, 256 in flight", "× echo/s", 0.5, rate);
    let append = samples.median((DISK, 1), |sample| sample.p50_us)?;
    let more = |accept: &Sample, echo: &Sample| (accept.p50_us - echo.p50_us) / append;
    let more = samples.paired((NAME, 1), (echo::NAME, 1), more)?;
    report.at_most(
        "accept p50 over echo p50, 1 in flight",
        "× p50 of append + fdatasync",
        1.5,
        more,
    );
    let slowest = beside_echo(256, |sample| sample.p99_us)?;
    report.at_most("accept p99, 256 in flight", "× echo p99", 3.0, slowest);
    Ok(())
}

/// How many shards a controller needs, so that there is one for every request: more than the target's share of what the
/// echo service answers. A faster controller only ends its turn earlier.
pub(crate) fn shards(stage: &Stage, samples: &Samples, in_flight: u16) -> usize {
    /// In a second, before the echo service was asked.
    const MANY: f64 = 100_000.0;
    let echoes = samples.fastest(echo::NAME, in_flight).unwrap_or(MANY);
    let most = stage.how.seconds.mul_f64(echoes).as_secs();
    most as usize * 3 / 4 + usize::from(in_flight)
}

/// Asks a new controller with so many shards.
pub(crate) async fn ask(
    stage: &mut Stage,
    in_flight: u16,
    round: u32,
    shards: usize,
) -> Result<Sample> {
    let swarm = Swarm::with_shards(stage, shards).await?;
    let pace = Pace::InFlight(in_flight);
    let order = stage.order(
        What::Accepted,
        subjects::TEARDOWN,
        swarm.stored.targets(),
        pace,
    )?;
    stage
        .carry_out(order, swarm.id()?, (NAME, in_flight, round))
        .await
}
