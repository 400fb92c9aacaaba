//! Decides which gaps in the broadcasts are explained by an outage.
//!
//! An outage may lose a broadcast that was decided but not yet published when the outage began.
//! There are two kinds of outages:
//!
//! - Outages of a controller are read from its log: a start, a lost or restored connection, or a
//!   change of leader. The times of the injected faults are not precise enough, because on a busy
//!   machine a controller may notice a lost or restored connection seconds later.
//! - Outages of one server of a cluster are not in the controllers' logs, even though messages
//!   between two healthy servers can be lost during them. The fault injector records these outages.
//!   They last until the cluster has formed again.

use std::path::PathBuf;

use anyhow::{Context, Result};
use scuttle_schemas::{PartitionCount, Timestamp};

use crate::cluster::controller_log::outage_times;

/// The maximum difference between the times that two processes log for the same moment, in
/// milliseconds. All processes read the same clock, but each reads it some time before it logs the
/// time.
pub(crate) const MAX_CLOCK_SKEW_MS: i64 = 5;

/// The maximum delay, in milliseconds, until the relay notices that it missed another partition's
/// broadcast. The relay notices when that partition's next broadcast arrives: at the latest, the
/// periodic repeat of the last revision.
const REPEAT_INTERVAL_MS: i64 = 5_000 + 500;

/// Missing broadcasts that no event of the subscriber's connection explains.
#[derive(Debug, Clone)]
pub(crate) struct Gap {
    /// When the controller decided the last message before the gap.
    pub(crate) from: Timestamp,
    /// When the first message after the gap arrived.
    pub(crate) to: Timestamp,
    pub(crate) description: String,
}

/// A period during which a server was down or separated from its cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ServerOutage {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

/// Describes each gap that is explained neither by an event in these logs nor by a server outage.
///
/// # Errors
/// If a log cannot be read.
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
    let mut outages = Vec::new();
    for log in logs {
        let text = std::fs::read_to_string(log).with_context(|| log.display().to_string())?;
        outages.extend(outage_times(&text));
    }
    let is_explained = |gap: &Gap| {
        let overlaps = |from: Timestamp, to: Timestamp| {
            to.millis_since(gap.from) >= -MAX_CLOCK_SKEW_MS - max_delay_ms
                && gap.to.millis_since(from) >= -MAX_CLOCK_SKEW_MS
        };
        outages.iter().any(|at| overlaps(*at, *at))
            || server_outages
                .iter()
                .any(|outage| overlaps(outage.from, outage.to))
    };
    let describe = |gap: &Gap| {
        format!(
            "{}: missed between {} and {}, although the controller was connected",
            gap.description, gap.from, gap.to
        )
    };
    Ok(gaps
        .iter()
        .filter(|gap| !is_explained(gap))
        .map(describe)
        .collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use scuttle_schemas::PartitionCount;

    use super::{Gap, ServerOutage, find_unexplained_gaps};

    const LOG: &str = "\
2026-11-24T06:05:13.062023Z  INFO loaded 0 hosts, 0 deckies, 0 open operations from /d
2026-11-24T06:05:13.300000Z  INFO ready
2026-11-24T06:05:13.400000Z  INFO became leader
{\"timestamp\":\"2026-11-24T06:05:20.000000Z\",\"message\":\"INFO loaded nothing\"}
2026-11-24T06:06:00.962265Z  WARN lost the NATS server: reconnecting until it is back
2026-11-24T06:06:01.148219Z  INFO reconnected to the NATS server
";

    #[test]
    fn an_outage_explains_a_gap_only_if_they_overlap() {
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
            let server_outage = ServerOutage {
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
                &[server_outage],
                PartitionCount::ONE,
            );
            let found = found.expect("a log");
            assert_eq!(found.len(), lost, "{from} to {to}: {found:?}");
        }
    }
}
