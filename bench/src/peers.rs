//! `peers`: durable accepts a second beside what one would take instead.

use anyhow::{Context, Result};

use crate::accept;
use crate::echo::{self, Own};
use crate::jetstream;
use crate::report::Report;
use crate::samples::{Samples, turned};
use crate::sqlite;
use crate::stage::Stage;

const IN_FLIGHT: u16 = 256;

const ALL: [&str; 5] = [
    echo::NAME,
    accept::NAME,
    jetstream::NAME,
    jetstream::SYNCED,
    sqlite::NAME,
];

/// Measures and reports.
pub(crate) async fn run(stage: &mut Stage, report: &mut Report) -> Result<()> {
    jetstream::make_stream(&stage.client).await?;
    let echo = Own::start(stage, echo::NAME, &[]).await?;
    let mut samples = Samples::default();
    for round in 0..stage.how.rounds {
        for name in turned(&ALL, round) {
            let shards = accept::shards(stage, &samples, IN_FLIGHT);
            let sample = match name {
                accept::NAME => accept::ask(stage, IN_FLIGHT, round, shards).await,
                jetstream::NAME => jetstream::ask(stage, IN_FLIGHT, round).await,
                jetstream::SYNCED => jetstream::ask_synced(stage, IN_FLIGHT, round).await,
                sqlite::NAME => sqlite::ask(stage, IN_FLIGHT, round, shards).await,
                _ => echo::ask(&echo, stage, IN_FLIGHT, round).await,
            };
            samples.0.push(sample.with_context(|| name)?);
        }
    }
    let lines = ALL.map(|name| (name, IN_FLIGHT));
    report.table(
        "Durable accepts beside what one would take instead",
        &samples,
        &lines,
    )?;
    let ratio = |name| {
        let accept = (accept::NAME, IN_FLIGHT);
        samples.paired(accept, (name, IN_FLIGHT), |accept, other| {
            accept.per_second / other.per_second
        })
    };
    let figure = "durable accepts/s, 256 in flight";
    report.at_least(
        figure,
        "× JetStream, sync always",
        8.0,
        ratio(jetstream::SYNCED)?,
    );
    report.at_least(figure, "× SQLite, WAL, full", 10.0, ratio(sqlite::NAME)?);
    report.keep("peers", &samples)
}
