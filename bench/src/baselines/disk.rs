//! The limit of the disk: repeatedly appends 4 KiB and syncs.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::load::outcome::new_histogram;
use crate::report::samples::{Sample, Series};

pub(crate) const SERIES: Series = Series::new("4 KiB append + fdatasync", 1);

const BLOCK: [u8; 4096] = [0x5a; 4096];
const DURATION: Duration = Duration::from_millis(500);

/// Measures how often per second a block of 4 KiB can be appended to a file in `dir` and synced.
pub(crate) fn measure(dir: &Path, round: u32) -> Result<Sample> {
    let path = dir.join("appends");
    let append = || -> std::io::Result<Sample> {
        let mut file = File::create(&path)?;
        let mut latencies = new_histogram();
        let start = Instant::now();
        let mut last = start;
        while last - start < DURATION {
            file.write_all(&BLOCK)?;
            file.sync_data()?;
            let now = Instant::now();
            latencies.saturating_record((now - last).as_nanos() as u64);
            last = now;
        }
        let micros = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
        Ok(Sample {
            name: SERIES.name,
            in_flight: SERIES.in_flight,
            round,
            per_second: latencies.len() as f64 / (last - start).as_secs_f64(),
            p50_us: micros(0.5),
            p99_us: micros(0.99),
            cpu_us: None,
        })
    };
    let sample = append().with_context(|| format!("append to {}", path.display()))?;
    std::fs::remove_file(&path)?;
    Ok(sample)
}
