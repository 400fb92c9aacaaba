//! When a controller or its connection was down, or another took over, by the controllers' own logs: what was decided before such
//! a moment and told after it may be lost. The faults' own times would not do: on a busy machine a connection comes back, and is
//! known to have gone, seconds later. But where there are several servers, one that is away takes messages with it between
//! two that know nothing of it: so until all were one again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use scuttle_schemas::{Partition, PartitionCount, Timestamp};

use crate::audit::SKEW_MS;

const LEADS: &str = "INFO became leader";
const LEADS_NO_MORE: &str = "WARN stepped down";

/// What its log says when it starts, when its connection goes and comes, and when it leads and leads no more.
const SAID: [&str; 5] = [
    "INFO loaded ",
    LEADS,
    LEADS_NO_MORE,
    "WARN the NATS server is away",
    "INFO reconnected to the NATS server",
];

/// Before what is said of one of several partitions; then its number, and the end.
const PARTITION: &str = "partition{number=";
const PARTITION_END: &str = "}: ";

/// Of what another partition told, and did not come to the one that numbers it, that one learns from the next that is told: after this
/// time at the latest, from the repeat of the last revision.
const BEACON_MS: i64 = 5_000 + 500;

/// Messages that are missing, and that nothing at the one who listened explains.
#[derive(Debug, Clone)]
pub(crate) struct Gap {
    /// When the last message before it was decided.
    pub(crate) from: Timestamp,
    /// When the first one after it came.
    pub(crate) to: Timestamp,
    /// Which.
    pub(crate) what: String,
}

/// A server of several was not there, or not one with the others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Away {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
}

/// The gaps that no moment in these logs explains, nor a server that was away, in words.
///
/// # Errors
/// A log cannot be read.
pub(crate) fn unexplained(
    gaps: &[Gap],
    logs: &[PathBuf],
    away: &[Away],
    of: PartitionCount,
) -> Result<Vec<String>> {
    let late = if of == PartitionCount::ONE {
        0
    } else {
        BEACON_MS
    };
    let mut moments = Vec::new();
    for log in logs {
        let text = std::fs::read_to_string(log).with_context(|| log.display().to_string())?;
        moments.extend(moments_of(&text));
    }
    let explained = |gap: &Gap| {
        let during = |at: &Timestamp| {
            at.millis_since(gap.from) >= -SKEW_MS - late && gap.to.millis_since(*at) >= -SKEW_MS
        };
        let overlaps = |away: &Away| {
            away.to.millis_since(gap.from) >= -SKEW_MS - late
                && gap.to.millis_since(away.from) >= -SKEW_MS
        };
        moments.iter().any(during) || away.iter().any(overlaps)
    };
    let told = |gap: &Gap| {
        format!(
            "{}, between {} and {}, and the controller was connected",
            gap.what, gap.from, gap.to
        )
    };
    Ok(gaps
        .iter()
        .filter(|gap| !explained(gap))
        .map(told)
        .collect())
}

/// How often these logs say so.
///
/// # Errors
/// A log cannot be read.
pub(crate) fn said(logs: &[PathBuf], words: &str) -> Result<usize> {
    let mut said = 0;
    for log in logs {
        let text = std::fs::read_to_string(log).with_context(|| log.display().to_string())?;
        let lines = text.lines().filter_map(of_partition);
        said += lines.filter(|(_, line)| line.contains(words)).count();
    }
    Ok(said)
}

fn moments_of(log: &str) -> Vec<Timestamp> {
    let lines = log.lines().filter_map(of_partition);
    let said = lines.filter(|(_, line)| SAID.iter().any(|said| line.contains(said)));
    said.filter_map(|(_, line)| time_of(&line)).collect()
}

/// The partitions that a controller with this log leads, as far as that says, and since when.
pub(crate) fn led_since(log: &str, of: PartitionCount) -> BTreeMap<Partition, Timestamp> {
    let mut led = BTreeMap::new();
    for (number, line) in log.lines().filter_map(of_partition) {
        let Some(partition) = of.partition(number) else {
            continue;
        };
        if line.contains(LEADS)
            && let Some(since) = time_of(&line)
        {
            led.insert(partition, since);
        } else if line.contains(LEADS_NO_MORE) {
            led.remove(&partition);
        }
    }
    led
}

fn time_of(line: &str) -> Option<Timestamp> {
    line.split_whitespace().next()?.parse().ok()
}

/// Which partition a line is about, and the line without that; none for a line of the audit log.
fn of_partition(line: &str) -> Option<(u8, Cow<'_, str>)> {
    if line.starts_with('{') {
        return None;
    }
    let found = line.split_once(PARTITION).and_then(|(before, rest)| {
        let (number, said) = rest.split_once(PARTITION_END)?;
        Some((number.parse().ok()?, Cow::from(format!("{before}{said}"))))
    });
    Some(found.unwrap_or((0, Cow::from(line))))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use scuttle_schemas::{Partition, PartitionCount};

    use super::{Away, Gap, led_since, unexplained};

    const LOG: &str = "\
2026-11-24T06:05:13.062023Z  INFO loaded 0 hosts, 0 shards, 0 open operations from /d
2026-11-24T06:05:13.300000Z  INFO ready
2026-11-24T06:05:13.400000Z  INFO became leader
{\"timestamp\":\"2026-11-24T06:05:20.000000Z\",\"message\":\"INFO loaded nothing\"}
2026-11-24T06:06:00.962265Z  WARN lost the NATS server: reconnecting until it is back
2026-11-24T06:06:01.148219Z  INFO reconnected to the NATS server
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
            let away = Away {
                from: at("06:07:01.000"),
                to: at("06:07:02.000"),
            };
            let gap = Gap {
                from: at(from),
                to: at(to),
                what: "revision 7 after 5".to_owned(),
            };
            let found = unexplained(
                &[gap],
                std::slice::from_ref(&log),
                &[away],
                PartitionCount::ONE,
            );
            let found = found.expect("a log");
            assert_eq!(found.len(), lost, "{from} to {to}: {found:?}");
        }
    }

    #[test]
    fn who_leads_which_partition_is_in_the_log() {
        const LOG: &str = "\
2026-11-24T06:05:13.400000Z  INFO partition{number=0}: became leader
2026-11-24T06:05:14.400000Z  INFO partition{number=1}: became leader
2026-11-24T06:05:15.400000Z  WARN partition{number=0}: stepped down: lease expired
2026-11-24T06:05:16.400000Z  INFO partition{number=3}: became leader
{\"timestamp\":\"2026-11-24T06:05:20.000000Z\",\"message\":\"INFO became leader\"}
";
        let of = PartitionCount::new(4).expect("valid");
        let led: Vec<_> = led_since(LOG, of)
            .into_keys()
            .map(Partition::index)
            .collect();
        assert_eq!(led, [1, 3]);
        let whole = "2026-11-24T06:05:13.400000Z  INFO became leader\n";
        assert_eq!(led_since(whole, PartitionCount::ONE).len(), 1);
    }
}
