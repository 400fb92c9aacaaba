//! The time from the controller's start to its first reply, compared with the time to read the same
//! rows without keeping them.

use std::time::Instant;

use anyhow::{Result, ensure};
use serde::Serialize;
use tokio::process::Command;

use crate::environment::shared::Environment;
use crate::environment::swarm::SwarmData;
use crate::report::samples::median;
use crate::report::summary::Report;
use crate::workloads::scale::sizes::resident_bytes;
use crate::workloads::scale::store::Reading;

/// The times of one round, in seconds.
#[derive(Debug, Serialize)]
struct Round {
    start: f64,
    #[serde(flatten)]
    reading: Reading,
}

/// Runs the measurement. Returns the data, and the memory (in bytes) that the controller uses after
/// its last start.
pub(super) async fn run(
    environment: &Environment,
    report: &mut Report,
    mut data: SwarmData,
) -> Result<(SwarmData, f64)> {
    let mut rounds = Vec::new();
    let mut memory = 0.0;
    // The file is in the page cache from the first round on, because it has just been written.
    for _ in 0..environment.options.rounds {
        let reading = read(&data).await?;
        let start = Instant::now();
        let swarm = data.start(environment).await?;
        let start = start.elapsed().as_secs_f64();
        memory = resident_bytes(&swarm)?;
        data = swarm.stop().await?;
        rounds.push(Round { start, reading });
    }
    let median_of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    report.print_line(&format!(
        "start: {:.2} s until the first reply; opening and verifying the file takes {:.2} s, reading and decoding \
         its rows {:.2} s",
        median_of(|round| round.start)?,
        median_of(|round| round.reading.open)?,
        median_of(|round| round.reading.read)?
    ));
    let ratio = median_of(|round| round.start / round.reading.read)?;
    report.expect_at_most(
        "start with 1,000,000 shards",
        "× reading and decoding the rows",
        3.0,
        ratio,
    );
    report.record("start", &rounds)?;
    Ok((data, memory))
}

async fn read(data: &SwarmData) -> Result<Reading> {
    let output = Command::new(std::env::current_exe()?)
        .arg("read-store")
        .arg(data.data_dir())
        .output()
        .await?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}
