//! A start: from the controller's first instruction to its first answer, beside reading the same rows and keeping none.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde::Serialize;
use tokio::process::Command;

use super::resident;
use super::store::Reading;
use crate::report::Report;
use crate::samples::median;
use crate::stage::Stage;
use crate::swarm::Stored;

/// One round, in seconds.
#[derive(Debug, Serialize)]
struct Round {
    start: f64,
    #[serde(flatten)]
    reading: Reading,
}

/// Measures and reports; with the memory after the last start, in bytes.
pub(super) async fn run(
    stage: &Stage,
    report: &mut Report,
    mut stored: Stored,
) -> Result<(Stored, f64)> {
    let mut rounds = Vec::new();
    let mut memory = 0.0;
    // The first of both finds the file in memory, as the others do: it has just been written.
    for _ in 0..stage.how.rounds {
        let reading = read(&stored).await?;
        let begun = Instant::now();
        let swarm = stored.start(stage).await?;
        let start = begun.elapsed().as_secs_f64();
        memory = resident(&swarm)?;
        stored = swarm.stop().await?;
        rounds.push(Round { start, reading });
    }
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    report.say(&format!(
        "start: {:.2} s to the first answer; to open the file and verify it takes {:.2} s, to read and decode its rows {:.2} s",
        of(|round| round.start)?,
        of(|round| round.reading.open)?,
        of(|round| round.reading.read)?
    ));
    let ratio = of(|round| round.start / round.reading.read)?;
    report.at_most(
        "start with 1,000,000 shards",
        "× reading and decoding the rows",
        3.0,
        ratio,
    );
    report.keep("start", &rounds)?;
    Ok((stored, memory))
}

async fn read(stored: &Stored) -> Result<Reading> {
    let output = Command::new(std::env::current_exe()?)
        .arg("read-store")
        .arg(stored.data_dir())
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}
