//! What the system says of this process. Where there is no /proc, nothing.

use std::fs;

/// The kernel counts processor time in hundredths of a second for whoever reads /proc, on every architecture that
/// Rust's standard library runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds of processor time, in the program and for it in the kernel.
pub(crate) fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program may have spaces; it ends with the last bracket. `utime` and `stime` are the 14th and the
    // 15th field, the name is the second.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

/// Bytes of memory that are in use.
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
    fn the_system_says_what_this_process_uses() {
        let used = cpu_seconds().expect("a /proc");
        assert!((0.0..1e6).contains(&used), "{used} s");
        let bytes = resident_bytes().expect("a /proc");
        assert!((100_000..1 << 40).contains(&bytes), "{bytes} bytes");
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < 50 {
            std::hint::spin_loop();
        }
        assert!(cpu_seconds() > Some(used), "it has worked since");
    }
}
