//! The disk's own limit: 4 KiB appended and synced, again and again.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

const BLOCK: [u8; 4096] = [0x5a; 4096];
const TIME: Duration = Duration::from_millis(500);

/// Appends and fdatasyncs a second, in `dir`.
pub(crate) fn appends_per_second(dir: &Path) -> Result<f64> {
    let path = dir.join("appends");
    let append = || -> std::io::Result<f64> {
        let mut file = File::create(&path)?;
        let start = Instant::now();
        let mut appends = 0_u32;
        while start.elapsed() < TIME {
            file.write_all(&BLOCK)?;
            file.sync_data()?;
            appends += 1;
        }
        Ok(f64::from(appends) / start.elapsed().as_secs_f64())
    };
    let rate = append().with_context(|| format!("append to {}", path.display()))?;
    std::fs::remove_file(&path)?;
    Ok(rate)
}
