//! The disk's own limit: 4 KiB appended and synced, again and again.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::load::histogram;

const BLOCK: [u8; 4096] = [0x5a; 4096];
const TIME: Duration = Duration::from_millis(500);

/// What the disk did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appends {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Appends and fdatasyncs in `dir`.
pub(crate) fn appends(dir: &Path) -> Result<Appends> {
    let path = dir.join("appends");
    let append = || -> std::io::Result<Appends> {
        let mut file = File::create(&path)?;
        let mut latencies = histogram();
        let start = Instant::now();
        let mut last = start;
        while last - start < TIME {
            file.write_all(&BLOCK)?;
            file.sync_data()?;
            let now = Instant::now();
            latencies.saturating_record((now - last).as_nanos() as u64);
            last = now;
        }
        let micros = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
        Ok(Appends {
            per_second: latencies.len() as f64 / (last - start).as_secs_f64(),
            p50_us: micros(0.5),
            p99_us: micros(0.99),
        })
    };
    let appends = append().with_context(|| format!("append to {}", path.display()))?;
    std::fs::remove_file(&path)?;
    Ok(appends)
}
