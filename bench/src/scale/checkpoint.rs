//! Accepts while the journal is as long as it may be and is moved to the rows, beside accepts while it is short.

use std::time::Duration;

use anyhow::{Result, ensure};
use scuttle_controller::engine::FORCED_CHECKPOINT_THRESHOLD;
use scuttle_schemas::subjects;

use super::store;
use crate::load::{Pace, What};
use crate::report::Report;
use crate::samples::{Sample, Samples, turned};
use crate::stage::Stage;
use crate::swarm::Stored;

const WITHOUT: &str = "accept, short journal";
const WITH: &str = "accept, checkpoints";
const TIME: Duration = Duration::from_secs(2);
/// So many of what can be accepted are asked for.
const SHARE: f64 = 0.25;
/// How far from its limit the journal may be afterwards: a little more than the last changes.
const NEAR: usize = 20_000;

/// Measures and reports.
pub(super) async fn run(
    stage: &mut Stage,
    report: &mut Report,
    stored: &Stored,
    fastest: f64,
) -> Result<()> {
    let long = stored.copy(stage)?;
    store::lengthen_journal(&long.data_dir())?;
    let rate = Duration::from_secs(1).mul_f64(fastest * SHARE).as_secs();
    let mut samples = Samples::default();
    for round in 0..stage.how.rounds {
        for name in turned(&[WITHOUT, WITH], round) {
            let from = if name == WITH { &long } else { stored };
            let swarm = from.copy(stage)?.start(stage).await?;
            let pace = Pace::PerSecond(rate.try_into()?);
            let mut order =
                stage.order(What::Accepted, subjects::TEARDOWN, stored.targets(), pace)?;
            order.millis = TIME.as_millis() as u64;
            order.watch.push(swarm.id()?);
            let load = stage.generator.carry_out(&order).await?;
            let ended = swarm.kill().await?;
            if name == WITH {
                // It was too long all the time, and was kept from growing longer.
                let journal = store::journal_len(&ended.data_dir())?;
                ensure!(
                    journal.abs_diff(FORCED_CHECKPOINT_THRESHOLD) < NEAR,
                    "the journal was not moved all the time: it has {journal} changes"
                );
            }
            samples.0.push(Sample::of(name, 0, round, &load));
        }
    }
    let lines = [(WITHOUT, 0), (WITH, 0)];
    let title = format!("{rate} accepts a second, whatever is answered, at a million shards");
    report.table(&title, &samples, &lines)?;
    let ratio = samples.paired(lines[1], lines[0], |with, without| {
        with.p99_us / without.p99_us
    })?;
    report.at_most("accept p99 during checkpoints", "× p99 without", 2.0, ratio);
    report.keep("checkpoint", &samples)
}
