//! Accepted teardowns per second with a million shards, compared with ten thousand shards. Both
//! swarms get the same number of requests.

use anyhow::Result;
use scuttle_schemas::subjects;

use crate::environment::shared::Environment;
use crate::environment::swarm::SwarmData;
use crate::load::spec::{Pace, RequestKind, Targets};
use crate::report::samples::{Samples, Series, rotate};
use crate::report::summary::Report;
use crate::workloads::scale::sizes::{DECKIES_PER_HOST, HOSTS, SMALL_HOSTS};

const SMALL: Series = Series::new("accept, 10,000 shards", 256);
const LARGE: Series = Series::new("accept, 1,000,000 shards", 256);

/// Measures both swarms. Returns the median number of accepted teardowns per second with a million
/// shards.
pub(super) async fn run(
    environment: &mut Environment,
    report: &mut Report,
    small: &SwarmData,
    large: &SwarmData,
) -> Result<f64> {
    // The number of targets is the same for both swarms. In the large swarm, each target is on a
    // different host.
    let small_targets = Targets {
        hosts: 0..SMALL_HOSTS,
        deckies: 0..DECKIES_PER_HOST,
        skip: 0,
    };
    let large_targets = Targets {
        hosts: 0..HOSTS,
        deckies: 0..(SMALL_HOSTS * DECKIES_PER_HOST / HOSTS),
        skip: 0,
    };
    let mut samples = Samples::default();
    for round in 0..environment.options.rounds {
        for series in rotate(&[SMALL, LARGE], round) {
            let (data, targets) = if series == SMALL {
                (small, &small_targets)
            } else {
                (large, &large_targets)
            };
            let swarm = data.copy(environment)?.start(environment).await?;
            let load = environment.load(
                RequestKind::Accept,
                subjects::TEARDOWN,
                targets.clone(),
                Pace::InFlight(series.in_flight),
            )?;
            let sample = environment.run(load, swarm.id()?, series, round).await?;
            samples.0.push(sample);
        }
    }
    report.print_table(
        "Ten thousand accepts with a million shards and with ten thousand",
        &samples,
        &[SMALL, LARGE],
    )?;
    let ratio = samples.paired_median(LARGE, SMALL, |large, small| {
        large.per_second / small.per_second
    })?;
    report.expect_at_least("accepts/s at 1,000,000 shards", "× at 10,000", 0.9, ratio);
    report.record("accepts", &samples)?;
    samples.median(LARGE, |sample| sample.per_second)
}
