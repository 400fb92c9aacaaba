//! What the controllers' logs say about connections and leadership.
//!
//! The patterns in this file must match the text that the controller logs. Otherwise, the checks
//! overlook events.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use scuttle_schemas::{Partition, PartitionCount, Timestamp};

const BECAME_LEADER: &str = "INFO became leader";
const STEPPED_DOWN: &str = "WARN stepped down";

/// Patterns for the log lines of events that can cause broadcasts to be lost: a start, a change of
/// leader, and a lost or restored connection.
const OUTAGE_LINES: [&str; 5] = [
    "INFO loaded ",
    BECAME_LEADER,
    STEPPED_DOWN,
    "WARN lost the NATS server",
    "INFO reconnected to the NATS server",
];

/// The start of the tracing span in a line about one of several partitions. The partition's number
/// and [`SPAN_END`] follow.
const SPAN_START: &str = "partition{number=";
const SPAN_END: &str = "}: ";

/// Counts the lines of these logs that contain `pattern`. Lines of the audit log do not count.
///
/// # Errors
/// If a log cannot be read.
pub(crate) fn count_lines(logs: &[PathBuf], pattern: &str) -> Result<usize> {
    let mut count = 0;
    for log in logs {
        let text = std::fs::read_to_string(log).with_context(|| log.display().to_string())?;
        let lines = text.lines().filter_map(split_partition);
        count += lines.filter(|(_, line)| line.contains(pattern)).count();
    }
    Ok(count)
}

/// Returns the times at which, according to its log, a controller started, became leader, stepped
/// down, or lost or regained its connection.
pub(crate) fn outage_times(log: &str) -> Vec<Timestamp> {
    let lines = log.lines().filter_map(split_partition);
    let outages =
        lines.filter(|(_, line)| OUTAGE_LINES.iter().any(|pattern| line.contains(pattern)));
    outages.filter_map(|(_, line)| parse_time(&line)).collect()
}

/// Returns the partitions that a controller leads at the end of its log, each with the start of the
/// current term.
pub(crate) fn leaders_since(
    log: &str,
    partitions: PartitionCount,
) -> BTreeMap<Partition, Timestamp> {
    let mut led = BTreeMap::new();
    for (number, line) in log.lines().filter_map(split_partition) {
        let Some(partition) = partitions.partition(number) else {
            continue;
        };
        if line.contains(BECAME_LEADER)
            && let Some(since) = parse_time(&line)
        {
            led.insert(partition, since);
        } else if line.contains(STEPPED_DOWN) {
            led.remove(&partition);
        }
    }
    led
}

fn parse_time(line: &str) -> Option<Timestamp> {
    line.split_whitespace().next()?.parse().ok()
}

/// Returns the number of the partition that a log line is about, and the line without its partition
/// span. Returns `None` for a line of the audit log.
///
/// A line without a span is about partition 0.
fn split_partition(line: &str) -> Option<(u8, Cow<'_, str>)> {
    if line.starts_with('{') {
        return None;
    }
    let found = line.split_once(SPAN_START).and_then(|(before, rest)| {
        let (number, message) = rest.split_once(SPAN_END)?;
        Some((
            number.parse().ok()?,
            Cow::from(format!("{before}{message}")),
        ))
    });
    Some(found.unwrap_or((0, Cow::from(line))))
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::{Partition, PartitionCount};

    use super::leaders_since;

    #[test]
    fn the_log_names_the_partitions_that_a_controller_leads() {
        const LOG: &str = "\
2026-11-24T06:05:13.400000Z  INFO partition{number=0}: became leader
2026-11-24T06:05:14.400000Z  INFO partition{number=1}: became leader
2026-11-24T06:05:15.400000Z  WARN partition{number=0}: stepped down: lease expired
2026-11-24T06:05:16.400000Z  INFO partition{number=3}: became leader
{\"timestamp\":\"2026-11-24T06:05:20.000000Z\",\"message\":\"INFO became leader\"}
";
        let partitions = PartitionCount::new(4).expect("valid");
        let led: Vec<_> = leaders_since(LOG, partitions)
            .into_keys()
            .map(Partition::index)
            .collect();
        assert_eq!(led, [1, 3]);
        let unpartitioned = "2026-11-24T06:05:13.400000Z  INFO became leader\n";
        assert_eq!(leaders_since(unpartitioned, PartitionCount::ONE).len(), 1);
    }
}
