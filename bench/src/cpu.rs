//! What a process has used of the processors, as /proc tells it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

/// A tick of `/proc/PID/stat`: a hundredth of a second wherever Scuttle runs.
const TICK: Duration = Duration::from_millis(10);

/// The time on a processor of all threads of a process, since it began.
pub(crate) fn used_by(process: u32) -> Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    ticks(&text)
        .map(|ticks| TICK * ticks)
        .with_context(|| format!("{path}: {text}"))
}

/// The time on a processor of each thread of a process, by the thread's id, to the nanosecond.
pub(crate) fn used_by_threads(process: u32) -> Result<BTreeMap<u32, Duration>> {
    let path = format!("/proc/{process}/task");
    let mut used = BTreeMap::new();
    for thread in std::fs::read_dir(&path).with_context(|| format!("read {path}"))? {
        let thread = thread?;
        // One that ends meanwhile has done nothing that is looked for.
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
        used.insert(id, Duration::from_nanos(nanos));
    }
    Ok(used)
}

/// User and system time: the 14th and 15th field. The second, the program's name, may hold anything, and ends with the
/// last parenthesis.
fn ticks(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u32>().ok();
    Some(next()? + next()?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_with_spaces_moves_no_field() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 9 0 0 0 250 50 3 4 20 0 1 0 100 1 1";
        assert_eq!(super::ticks(stat), Some(300));
    }
}
