//! The latency of accepting teardowns while the journal is at its maximum length and is moved to
//! the rows, compared with the latency while the journal is short.

use std::time::Duration;

use anyhow::{Result, ensure};
use scuttle_controller::engine::FORCED_CHECKPOINT_THRESHOLD;
use scuttle_schemas::subjects;

use crate::environment::shared::Environment;
use crate::environment::swarm::SwarmData;
use crate::load::spec::{Pace, RequestKind};
use crate::report::samples::{Samples, Series, rotate};
use crate::report::summary::Report;
use crate::workloads::scale::store;

const WITHOUT: Series = Series::new("accept, short journal", 0);
const WITH: Series = Series::new("accept, checkpoints", 0);
const DURATION: Duration = Duration::from_secs(2);
/// The request rate as a fraction of the maximum rate.
const LOAD_FACTOR: f64 = 0.25;
/// The maximum difference, in changes, between the journal's length after the load and
/// [`FORCED_CHECKPOINT_THRESHOLD`]. It allows for the last changes, which may not have been moved
/// yet.
const LENGTH_TOLERANCE: usize = 20_000;

/// Runs the measurement. `max_rate` is the number of accepted teardowns per second in a closed
/// loop.
pub(super) async fn run(
    environment: &mut Environment,
    report: &mut Report,
    data: &SwarmData,
    max_rate: f64,
) -> Result<()> {
    let long = data.copy(environment)?;
    store::lengthen_journal(&long.data_dir())?;
    let rate = Duration::from_secs(1)
        .mul_f64(max_rate * LOAD_FACTOR)
        .as_secs();
    let mut samples = Samples::default();
    for round in 0..environment.options.rounds {
        for series in rotate(&[WITHOUT, WITH], round) {
            let source = if series == WITH { &long } else { data };
            let swarm = source.copy(environment)?.start(environment).await?;
            let mut load = environment.load(
                RequestKind::Accept,
                subjects::TEARDOWN,
                data.targets(),
                Pace::PerSecond(rate.try_into()?),
            )?;
            load.millis = DURATION.as_millis() as u64;
            let sample = environment.run(load, swarm.id()?, series, round).await?;
            let ended = swarm.kill().await?;
            if series == WITH {
                // The journal was too long during the whole measurement, and did not become longer.
                let journal = store::journal_len(&ended.data_dir())?;
                ensure!(
                    journal.abs_diff(FORCED_CHECKPOINT_THRESHOLD) < LENGTH_TOLERANCE,
                    "the journal was not moved during the whole measurement: it has {journal} changes"
                );
            }
            samples.0.push(sample);
        }
    }
    let title = format!("{rate} accepts per second in an open loop, with a million shards");
    report.print_table(&title, &samples, &[WITHOUT, WITH])?;
    let ratio =
        samples.paired_median(WITH, WITHOUT, |with, without| with.p99_us / without.p99_us)?;
    report.expect_at_most("accept p99 during checkpoints", "× p99 without", 2.0, ratio);
    report.record("checkpoint", &samples)
}
