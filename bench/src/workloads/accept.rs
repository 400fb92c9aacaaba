//! `accept`: durably accepted teardowns per second, compared with an echo service and with the
//! disk.
//!
//! Every measurement starts a new controller, so that no controller has the operations of an
//! earlier measurement.

use anyhow::{Context, Result};
use scuttle_schemas::subjects;

use crate::baselines::disk;
use crate::baselines::echo::{self, ServiceProcess};
use crate::environment::shared::Environment;
use crate::environment::swarm::RunningSwarm;
use crate::load::spec::{Pace, RequestKind};
use crate::report::samples::{Sample, Samples, Series, rotate};
use crate::report::summary::Report;

pub(crate) const NAME: &str = "accept";

/// The numbers of requests in flight that are measured.
const IN_FLIGHT: [u16; 4] = [1, 32, 256, 1024];

pub(crate) async fn run(environment: &mut Environment, report: &mut Report) -> Result<()> {
    let echo = ServiceProcess::start(environment, echo::NAME, &[]).await?;
    let mut samples = Samples::default();
    for round in 0..environment.options.rounds {
        samples.0.push(disk::measure(environment.dir(), round)?);
        for in_flight in rotate(&IN_FLIGHT, round) {
            for name in rotate(&[echo::NAME, NAME], round) {
                let sample = if name == NAME {
                    let shards = required_shards(environment, &samples, in_flight);
                    measure(environment, in_flight, round, shards).await
                } else {
                    echo::measure(&echo, environment, in_flight, round).await
                };
                samples.0.push(sample.with_context(|| name)?);
            }
        }
    }
    let lines: Vec<_> = [echo::NAME, NAME]
        .into_iter()
        .flat_map(|name| IN_FLIGHT.map(|in_flight| Series::new(name, in_flight)))
        .chain([disk::SERIES])
        .collect();
    report.print_table(
        "Durable accepts compared with an echo service",
        &samples,
        &lines,
    )?;
    check_targets(report, &samples)?;
    report.record(NAME, &samples)
}

fn check_targets(report: &mut Report, samples: &Samples) -> Result<()> {
    let ratio_to_echo = |in_flight, figure: fn(&Sample) -> f64| {
        let ratio = |accept: &Sample, echo: &Sample| figure(accept) / figure(echo);
        let (accept, echo) = (
            Series::new(NAME, in_flight),
            Series::new(echo::NAME, in_flight),
        );
        samples.paired_median(accept, echo, ratio)
    };
    let rate = ratio_to_echo(256, |sample| sample.per_second)?;
    report.expect_at_least("durable accepts/s, 256 in flight", "× echo/s", 0.5, rate);
    let append = samples.median(disk::SERIES, |sample| sample.p50_us)?;
    let difference = |accept: &Sample, echo: &Sample| (accept.p50_us - echo.p50_us) / append;
    let (accept, echo) = (Series::new(NAME, 1), Series::new(echo::NAME, 1));
    let difference = samples.paired_median(accept, echo, difference)?;
    report.expect_at_most(
        "accept p50 minus echo p50, 1 in flight",
        "× p50 of append + fdatasync",
        1.5,
        difference,
    );
    let slowest = ratio_to_echo(256, |sample| sample.p99_us)?;
    report.expect_at_most("accept p99, 256 in flight", "× echo p99", 3.0, slowest);
    Ok(())
}

/// Returns the number of shards to prepare for one measurement. Each request uses up one shard.
/// There are enough for a controller that is three quarters as fast as the echo service; with a
/// faster one, the shards run out and the measurement ends early.
pub(crate) fn required_shards(
    environment: &Environment,
    samples: &Samples,
    in_flight: u16,
) -> usize {
    /// The assumed rate of the echo service until it has been measured.
    const MAX_ECHOES_PER_SECOND: f64 = 100_000.0;
    let echoes = samples.max_per_second(Series::new(echo::NAME, in_flight));
    let echoes = echoes.unwrap_or(MAX_ECHOES_PER_SECOND);
    let echoes = environment.options.seconds.mul_f64(echoes).as_secs();
    echoes as usize * 3 / 4 + usize::from(in_flight)
}

/// Measures how fast a new controller with at least `shards` shards accepts teardowns.
pub(crate) async fn measure(
    environment: &mut Environment,
    in_flight: u16,
    round: u32,
    shards: usize,
) -> Result<Sample> {
    let swarm = RunningSwarm::start_with_shards(environment, shards).await?;
    let load = environment.load(
        RequestKind::Accept,
        subjects::TEARDOWN,
        swarm.data.targets(),
        Pace::InFlight(in_flight),
    )?;
    let series = Series::new(NAME, in_flight);
    environment.run(load, swarm.id()?, series, round).await
}
