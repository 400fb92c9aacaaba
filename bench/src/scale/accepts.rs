//! Accepts a second with a million shards, beside the same number of accepts with ten thousand.

use anyhow::Result;
use scuttle_schemas::subjects;

use super::{DECKIES, FEW_HOSTS, HOSTS};
use crate::load::{Pace, Targets, What};
use crate::report::Report;
use crate::samples::{Sample, Samples, turned};
use crate::stage::Stage;
use crate::swarm::Stored;

const FEW: &str = "accept, 10,000 shards";
const MANY: &str = "accept, 1,000,000 shards";
const IN_FLIGHT: u16 = 256;

/// Measures and reports; answers how many are accepted a second with a million.
pub(super) async fn run(
    stage: &mut Stage,
    report: &mut Report,
    few: &Stored,
    many: &Stored,
) -> Result<f64> {
    // Both for as many deckies as the small one has. In the large one, no two on the same host.
    let of_few = Targets {
        hosts: 0..FEW_HOSTS,
        deckies: 0..DECKIES,
        skip: 0,
    };
    let of_many = Targets {
        hosts: 0..HOSTS,
        deckies: 0..(FEW_HOSTS * DECKIES / HOSTS),
        skip: 0,
    };
    let mut samples = Samples::default();
    for round in 0..stage.how.rounds {
        for name in turned(&[FEW, MANY], round) {
            let (stored, targets) = if name == FEW {
                (few, &of_few)
            } else {
                (many, &of_many)
            };
            let swarm = stored.copy(stage)?.start(stage).await?;
            let pace = Pace::InFlight(IN_FLIGHT);
            let mut order =
                stage.order(What::Accepted, subjects::TEARDOWN, targets.clone(), pace)?;
            order.watch.push(swarm.id()?);
            let load = stage.generator.carry_out(&order).await?;
            let sample = Sample::of(name, IN_FLIGHT, round, &load);
            samples.0.push(sample);
        }
    }
    let lines = [(FEW, IN_FLIGHT), (MANY, IN_FLIGHT)];
    report.table(
        "Accepts, ten thousand of them, at a million shards and at ten thousand",
        &samples,
        &lines,
    )?;
    let ratio = samples.paired(lines[1], lines[0], |many, few| {
        many.per_second / few.per_second
    })?;
    report.at_least("accepts/s at 1,000,000 shards", "× at 10,000", 0.9, ratio);
    report.keep("accepts", &samples)?;
    samples.median(lines[1], |sample| sample.per_second)
}
