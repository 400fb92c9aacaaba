//! `peers`: durably accepted teardowns per second, compared with alternatives that also make a
//! request durable.

use anyhow::{Context, Result};

use crate::baselines::echo::{self, ServiceProcess};
use crate::baselines::{jetstream, sqlite};
use crate::environment::shared::Environment;
use crate::report::samples::{Samples, Series, rotate};
use crate::report::summary::Report;
use crate::workloads::accept;

const IN_FLIGHT: u16 = 256;

const NAMES: [&str; 5] = [
    echo::NAME,
    accept::NAME,
    jetstream::NAME,
    jetstream::SYNCED,
    sqlite::NAME,
];

pub(crate) async fn run(environment: &mut Environment, report: &mut Report) -> Result<()> {
    jetstream::create_stream(&environment.client).await?;
    let echo = ServiceProcess::start(environment, echo::NAME, &[]).await?;
    let mut samples = Samples::default();
    for round in 0..environment.options.rounds {
        for name in rotate(&NAMES, round) {
            let shards = accept::required_shards(environment, &samples, IN_FLIGHT);
            let sample = match name {
                accept::NAME => accept::measure(environment, IN_FLIGHT, round, shards).await,
                jetstream::NAME => jetstream::measure(environment, IN_FLIGHT, round).await,
                jetstream::SYNCED => jetstream::measure_synced(environment, IN_FLIGHT, round).await,
                sqlite::NAME => sqlite::measure(environment, IN_FLIGHT, round, shards).await,
                _ => echo::measure(&echo, environment, IN_FLIGHT, round).await,
            };
            samples.0.push(sample.with_context(|| name)?);
        }
    }
    let lines = NAMES.map(|name| Series::new(name, IN_FLIGHT));
    report.print_table(
        "Durable accepts compared with alternatives",
        &samples,
        &lines,
    )?;
    let ratio_to = |name| {
        let accept = Series::new(accept::NAME, IN_FLIGHT);
        let other = Series::new(name, IN_FLIGHT);
        samples.paired_median(accept, other, |accept, other| {
            accept.per_second / other.per_second
        })
    };
    let figure = "durable accepts/s, 256 in flight";
    report.expect_at_least(
        figure,
        "× JetStream, sync always",
        8.0,
        ratio_to(jetstream::SYNCED)?,
    );
    report.expect_at_least(figure, "× SQLite, WAL, full", 10.0, ratio_to(sqlite::NAME)?);
    report.record("peers", &samples)
}
