//! The processor time and memory of this process, read from `/proc`.

use std::fs;

/// The number of ticks that `/proc` counts for one second of processor time. It is 100 on all
/// architectures that Rust's standard library supports.
const TICKS_PER_SECOND: f64 = 100.0;

/// Returns the processor time of this process in seconds: user and system time together. Returns
/// `None` if `/proc` cannot be read.
pub(crate) fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the name of the program, may contain spaces and ends with the last bracket.
    // `utime` and `stime` are the 14th and the 15th field.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// Returns the resident memory of this process in bytes. Returns `None` if `/proc` cannot be read.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::{cpu_seconds, resident_bytes};

    #[test]
    #[cfg(target_os = "linux")]
    fn processor_time_and_memory_are_read_from_proc() {
        let used = cpu_seconds().expect("a /proc");
        assert!((0.0..1e6).contains(&used), "{used} s");
        let bytes = resident_bytes().expect("a /proc");
        assert!((100_000..1 << 40).contains(&bytes), "{bytes} bytes");
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < 50 {
            std::hint::spin_loop();
        }
        assert!(cpu_seconds() > Some(used), "the loop used processor time");
    }
}
