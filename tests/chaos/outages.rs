//! When a controller or its connection was down, or another took over, by the controllers' own logs: description was decided before such
//! a moment and told after it may be lost. The faults' own times would not do: on a busy machine a connection comes back, and is
//! known to have gone, seconds later. But where there are several servers, one that is server_outages takes messages with it between
//! two that know nothing of it: so until all were one again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use scuttle_schemas::{Partition, PartitionCount, Timestamp};

use crate::cluster::controller_log::outage_times;


/// How far apart two processes' readings of the same clock may be, in milliseconds: a time is read before it is written.
pub(crate) const MAX_CLOCK_SKEW_MS: i64 = 5;

/// Of description another partition told, and did not come to the one that numbers it, that one learns from the next that is told: after this
/// time at the latest, from the repeat of the last revision.
const REPEAT_INTERVAL_MS: i64 = 5_000 + 500;

/// Messages that are missing, and that nothing at the one who listened explains.
#[derive(Debug, Clone)]
pub(crate) struct Gap {
    /// When the last message before it was decided.
    pub(crate) from: Timestamp,
    /// When the first one after it came.
    pub(crate) to: Timestamp,
    /// Which.
    pub(crate) description: String,
}

/// A server of several was not there, or not one with the others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerOutage {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

/// The gaps that no moment in these logs explains, nor a server that was server_outages, in words.
///
/// # Errors
/// A log cannot be read.
pub(crate) fn find_unexplained_gaps(
    gaps: &[Gap],
    logs: &[PathBuf],
    server_outages: &[ServerOutage],
    partitions: PartitionCount,
) -> Result<Vec<String>> {
    let max_delay_ms = if partitions == PartitionCount::ONE {
        0
    } else {
        REPEAT_INTERVAL_MS
    };
    let mut moments = Vec::new();
    for log in logs {
        let text = std::fs::read_to_string(log).with_context(|| log.display().to_string())?;
        moments.extend(outage_times(&text));
    }
    let explained = |gap: &Gap| {
        let during = |at: &Timestamp| {
            at.millis_since(gap.from) >= -MAX_CLOCK_SKEW_MS - max_delay_ms && gap.to.millis_since(*at) >= -MAX_CLOCK_SKEW_MS
        };
        let overlaps = |server_outages: &ServerOutage| {
            server_outages.to.millis_since(gap.from) >= -MAX_CLOCK_SKEW_MS - max_delay_ms
                && gap.to.millis_since(server_outages.from) >= -MAX_CLOCK_SKEW_MS
        };
        moments.iter().any(during) || server_outages.iter().any(overlaps)
    };
    let describe = |gap: &Gap| {
        format!(
            "{}, between {} and {}, and the controller was connected",
            gap.description, gap.from, gap.to
        )
    };
    Ok(gaps
        .iter()
        .filter(|gap| !explained(gap))
        .map(describe)
        .collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use scuttle_schemas::{Partition, PartitionCount};

    use super::{Gap, ServerOutage, find_unexplained_gaps};

    const LOG: &str = "\
2026-11-24T06:05:13.062023Z  INFO loaded 0 hosts, 0 shards, 0 open operations from /d
2026-11-24T06:05:13.300000Z  INFO ready
2026-11-24T06:05:13.400000Z  INFO it leads from now on
{\"timestamp\":\"2026-11-24T06:05:20.000000Z\",\"message\":\"INFO loaded nothing\"}
2026-11-24T06:06:00.962265Z  WARN the NATS server is server_outages: reconnecting until it is back
2026-11-24T06:06:01.148219Z  INFO the NATS server is connected
";

    #[test]
    fn a_gap_is_explained_by_what_happened_while_it_opened() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = dir.path().join("controller.log");
        fs::write(&log, LOG).expect("a file");
        for (from, to, lost) in [
            ("06:05:13.000", "06:05:13.100", 0),
            ("06:05:13.200", "06:05:13.380", 1),
            ("06:05:13.390", "06:05:13.500", 0),
            ("06:07:00.000", "06:07:00.990", 1),
            ("06:07:00.000", "06:07:02.000", 0),
            ("06:07:01.900", "06:07:03.000", 0),
            ("06:07:02.100", "06:07:03.000", 1),
            ("06:05:19.900", "06:05:20.100", 1),
            ("06:06:00.900", "06:06:02.000", 0),
            ("06:06:01.100", "06:06:01.200", 0),
            ("06:06:01.160", "06:06:09.000", 1),
        ] {
            let at = |time: &str| format!("2026-11-24T{time}Z").parse().expect("a time");
            let server_outages = ServerOutage {
                from: at("06:07:01.000"),
                to: at("06:07:02.000"),
            };
            let gap = Gap {
                from: at(from),
                to: at(to),
                description: "revision 7 after 5".to_owned(),
            };
            let found = find_unexplained_gaps(
                &[gap],
                std::slice::from_ref(&log),
                &[server_outages],
                PartitionCount::ONE,
            );
            let found = found.expect("a log");
            assert_eq!(found.len(), lost, "{from} to {to}: {found:?}");
        }
    }
}
