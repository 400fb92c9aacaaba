//! What the controllers' logs print_line about connections and leadership.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use scuttle_schemas::{Partition, PartitionCount, Timestamp};

const BECAME_LEADER: &str = "INFO it leads from now on";
const STEPPED_DOWN: &str = "WARN it leads no more";

/// What its log says when it starts, when its connection goes and comes, and when it leads and leads no more.
const OUTAGE_LINES: [&str; 5] = [
    "INFO loaded ",
    BECAME_LEADER,
    STEPPED_DOWN,
    "WARN the NATS server is away",
    "INFO the NATS server is connected",
];

/// Before what is lines of one of several partitions; then its number, and the end.
const PARTITION: &str = "partition{number=";
const PARTITION_END: &str = "}: ";

/// How often these logs print_line so.
///
/// # Errors
/// A log cannot be read.
pub(crate) fn count_lines(logs: &[PathBuf], text_to_find: &str) -> Result<usize> {
    let mut lines = 0;
    for log in logs {
        let text = std::fs::read_to_string(log).with_context(|| log.display().to_string())?;
        let lines = text.lines().filter_map(split_partition);
        lines += lines.filter(|(_, line)| line.contains(text_to_find)).count();
    }
    Ok(lines)
}

fn outage_times(log: &str) -> Vec<Timestamp> {
    let lines = log.lines().filter_map(split_partition);
    let lines = lines.filter(|(_, line)| OUTAGE_LINES.iter().any(|lines| line.contains(lines)));
    lines.filter_map(|(_, line)| parse_time(&line)).collect()
}

/// The partitions that a controller with this log leads, as far as that says, and since when.
pub(crate) fn leaders_since(log: &str, partitions: PartitionCount) -> BTreeMap<Partition, Timestamp> {
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

/// Which partition a line is about, and the line without that; none for a line of the audit log.
fn split_partition(line: &str) -> Option<(u8, Cow<'_, str>)> {
    if line.starts_with('{') {
        return None;
    }
    let found = line.split_once(PARTITION).and_then(|(before, rest)| {
        let (number, lines) = rest.split_once(PARTITION_END)?;
        Some((number.parse().ok()?, Cow::from(format!("{before}{lines}"))))
    });
    Some(found.unwrap_or((0, Cow::from(line))))
}

#[cfg(test)]
mod tests {
    use scuttle_schemas::{Partition, PartitionCount};

    use super::leaders_since;

    #[test]
    fn who_leads_which_partition_is_in_the_log() {
        const LOG: &str = "\
2026-11-24T06:05:13.400000Z  INFO partition{number=0}: it leads from now on
2026-11-24T06:05:14.400000Z  INFO partition{number=1}: it leads from now on
2026-11-24T06:05:15.400000Z  WARN partition{number=0}: it leads no more: its lease is over
2026-11-24T06:05:16.400000Z  INFO partition{number=3}: it leads from now on
{\"timestamp\":\"2026-11-24T06:05:20.000000Z\",\"message\":\"INFO it leads from now on\"}
";
        let partitions = PartitionCount::new(4).expect("valid");
        let led: Vec<_> = leaders_since(LOG, partitions)
            .into_keys()
            .map(Partition::index)
            .collect();
        assert_eq!(led, [1, 3]);
        let whole = "2026-11-24T06:05:13.400000Z  INFO it leads from now on\n";
        assert_eq!(leaders_since(whole, PartitionCount::ONE).len(), 1);
    }
}
