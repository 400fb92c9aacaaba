//! The CPU time that processes and threads have used, from /proc.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

/// The unit of time in `/proc/PID/stat`. It is a hundredth of a second on every system that Scuttle
/// supports.
const TICK: Duration = Duration::from_millis(10);

/// Returns the CPU time that all threads of a process have used since the process started.
pub(crate) fn of_process(process: u32) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    parse_ticks(&text)
        .map(|ticks| TICK * ticks)
        .with_context(|| format!("{path}: {text}"))
}

/// Returns the CPU time of each thread of a process, by thread id, with nanosecond precision.
pub(crate) fn of_threads(process: u32) -> Result<BTreeMap<u32, Duration>> {
    let path = format!("/proc/{process}/task");
    let mut times = BTreeMap::new();
    for thread in std::fs::read_dir(&path).with_context(|| format!("read {path}"))? {
        let thread = thread?;
        // A thread that ends during this loop is not one that is measured.
        let Ok(text) = std::fs::read_to_string(thread.path().join("schedstat")) else {
            continue;
        };
        let name = thread.file_name();
        let id = name.to_str().and_then(|id| id.parse().ok());
        let nanos = text
            .split_whitespace()
            .next()
            .and_then(|nanos| nanos.parse().ok());
        let (id, nanos) = id.zip(nanos).with_context(|| format!("{path}: {text}"))?;
        times.insert(id, Duration::from_nanos(nanos));
    }
    Ok(times)
}

/// Returns the sum of the user time and the system time in `/proc/PID/stat`, in ticks. They are the
/// 14th and the 15th field. The second field is the program's name, which may contain spaces and
/// parentheses, so the fields are counted from the last closing parenthesis.
fn parse_ticks(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u32>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_program_name_with_spaces_does_not_shift_the_fields() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 9 0 0 0 250 50 3 4 20 0 1 0 100 1 1";
        assert_eq!(super::parse_ticks(stat), Some(300));
    }
}
