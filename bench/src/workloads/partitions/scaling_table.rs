//! Prints the figures for each partition count, and their ratio to the figures for one partition in
//! the same round. Also computes the rates that the swarm could reach if each leader ran on a
//! separate machine, so that the busiest thread had a whole core.

use anyhow::{Context, Result};

use crate::report::samples::median;
use crate::report::summary::Report;
use crate::workloads::partitions::figures::{CpuPerMessage, IN_FLIGHT, PARTITION_COUNTS, Run};

/// The maximum number of partitions. The rate of heartbeats with this number is computed, not
/// measured.
const MAX_PARTITIONS: f64 = 8.0;

/// A function that returns one figure of a run, or `None` if the run does not have this figure.
type Figure = fn(&Run) -> Option<f64>;

/// The figures that do not depend on the number of teardown requests in flight.
const GENERAL_FIGURES: [(&str, Figure); 13] = [
    ("heartbeats/s, 256 in flight", |run| {
        Some(run.heartbeats_per_second)
    }),
    ("CPU µs per heartbeat: its leader", |run| {
        Some(run.heartbeat_own_us)
    }),
    ("  each other leader, dropped", |run| {
        run.heartbeat_dropped_us
    }),
    ("  busiest thread, all hosts", |run| {
        Some(run.heartbeat.busiest)
    }),
    ("  all controllers", |run| Some(run.heartbeat.controllers)),
    ("  all servers", |run| Some(run.heartbeat.servers)),
    ("CPU µs per request: dropped", |run| run.request_dropped_us),
    ("list of 100 shards, p50, µs", |run| Some(run.list_p50_us)),
    ("CPU µs per list: first leader", |run| {
        Some(run.listing.first)
    }),
    ("  all controllers", |run| Some(run.listing.controllers)),
    ("  all servers", |run| Some(run.listing.servers)),
    ("accept p50, 1 in flight, µs", |run| {
        Some(run.accept.p50_us)
    }),
    ("CPU µs per accept: busiest thread", |run| {
        Some(run.accept.spent.busiest)
    }),
];

const ACCEPT_FIGURES: [(&str, Figure); 9] = [
    ("accepts/s", |run| Some(run.accepts.per_second)),
    ("p50, µs", |run| Some(run.accepts.p50_us)),
    ("CPU µs per accept: busiest thread", |run| {
        Some(accept_cpu(run).busiest)
    }),
    ("  first leader", |run| Some(accept_cpu(run).first)),
    ("  each other leader", |run| accept_cpu(run).others),
    ("  its own leader", |run| Some(own_leader_us(run))),
    ("  relayed by the first leader", relayed_us),
    ("  all controllers", |run| Some(accept_cpu(run).controllers)),
    ("  all servers", |run| Some(accept_cpu(run).servers)),
];

/// The rate of heartbeats at which the busiest thread would be fully used. It is computed, not
/// measured.
const MAX_HEARTBEATS: (&str, Figure) = ("heartbeats/s", |run| Some(1e6 / run.heartbeat.busiest));
/// The rate of accepted teardowns at which the busiest thread would be fully used. It is computed,
/// not measured.
const MAX_ACCEPTS: (&str, Figure) = ("accepts/s", |run| Some(1e6 / accept_cpu(run).busiest));

fn accept_cpu(run: &Run) -> &CpuPerMessage {
    &run.accepts.spent
}

/// Returns the fraction of the hosts that belong to one partition.
fn host_fraction(run: &Run) -> f64 {
    1.0 / f64::from(run.partitions)
}

/// Returns the CPU time in microseconds that an accepted teardown costs the leader of its
/// partition. It is the CPU time of a leader other than the first, minus the CPU time for the
/// requests that this leader drops. With one partition, it is the CPU time of the only leader.
fn own_leader_us(run: &Run) -> f64 {
    let Some((others, dropped)) = accept_cpu(run).others.zip(run.request_dropped_us) else {
        return accept_cpu(run).first;
    };
    (others - (1.0 - host_fraction(run)) * dropped) / host_fraction(run)
}

/// Returns the CPU time in microseconds that relaying an accepted teardown of another partition
/// costs the first leader. It is the difference between the first leader and another leader.
fn relayed_us(run: &Run) -> Option<f64> {
    let spent = accept_cpu(run);
    Some((spent.first - spent.others?) / (1.0 - host_fraction(run)))
}

pub(super) fn print(report: &Report, runs: &[Run]) -> Result<()> {
    report.print_line("\nBy number of partitions, two controllers, three servers: median [min, max] of the rounds, × 1 partition\n");
    let header = PARTITION_COUNTS.map(|count| format!("{count:>32}"));
    report.print_line(&format!("{:<33}{}", "", header.concat()));
    let all: Vec<&Run> = runs.iter().collect();
    for (name, figure) in GENERAL_FIGURES {
        report.print_line(&format_line(&all, name, figure)?);
    }
    let runs_with = |in_flight| runs.iter().filter(move |run| run.in_flight == in_flight);
    for in_flight in IN_FLIGHT {
        report.print_line(&format!("\n{in_flight} in flight"));
        let selected: Vec<&Run> = runs_with(in_flight).collect();
        for (name, figure) in ACCEPT_FIGURES {
            report.print_line(&format_line(&selected, name, figure)?);
        }
    }
    report.print_line("\nComputed: rates at which the busiest thread is fully used, with each leader on its own machine\n");
    let (name, figure) = MAX_HEARTBEATS;
    report.print_line(&format_line(&all, name, figure)?);
    for in_flight in IN_FLIGHT {
        let selected: Vec<&Run> = runs_with(in_flight).collect();
        let (name, figure) = MAX_ACCEPTS;
        report.print_line(&format_line(
            &selected,
            &format!("{name}, {in_flight} in flight"),
            figure,
        )?);
    }
    let median_of =
        |count, figure: fn(&Run) -> f64| median(select_count(&all, count).map(figure).collect());
    let max_count = PARTITION_COUNTS[PARTITION_COUNTS.len() - 1];
    let own = median_of(1, |run| run.heartbeat_own_us)?;
    let dropped = median_of(max_count, |run| {
        run.heartbeat_dropped_us.unwrap_or(f64::NAN)
    })?;
    let speedup = own / (own / MAX_PARTITIONS + dropped * (1.0 - 1.0 / MAX_PARTITIONS));
    report.print_line(&format!(
        "\nHeartbeats with {MAX_PARTITIONS} partitions: {speedup:.2} ×; below {:.2} × with any number, because every leader receives every heartbeat",
        own / dropped
    ));
    Ok(())
}

fn select_count<'a>(runs: &[&'a Run], count: u8) -> impl Iterator<Item = &'a Run> {
    let runs = runs.iter().copied();
    runs.filter(move |run| run.partitions == count)
}

/// Returns a line of the table with one figure for each partition count.
fn format_line(runs: &[&Run], name: &str, figure: Figure) -> Result<String> {
    let mut shown = Vec::from([format!("{name:<33}")]);
    for count in PARTITION_COUNTS {
        let values: Vec<f64> = select_count(runs, count).filter_map(figure).collect();
        if values.is_empty() {
            shown.push(format!("{:>32}", ""));
            continue;
        }
        let ratio_to_one = |run: &Run| {
            let same = |one: &&Run| (one.round, one.in_flight) == (run.round, run.in_flight);
            let one = select_count(runs, 1).find(same)?;
            Some(figure(run)? / figure(one)?)
        };
        let ratios: Vec<f64> = select_count(runs, count).filter_map(ratio_to_one).collect();
        let ratio = if count == 1 || ratios.is_empty() {
            String::new()
        } else {
            format!(" × {:.2}", median(ratios)?)
        };
        let min = values.iter().copied().min_by(f64::total_cmp);
        let max = values.iter().copied().max_by(f64::total_cmp);
        let (min, max) = min.zip(max).context("a value")?;
        let (median, min, max) = (
            show_digits(median(values)?),
            show_digits(min),
            show_digits(max),
        );
        let figure = format!("{median} [{min}, {max}]{ratio}");
        shown.push(format!("{figure:>32}"));
    }
    Ok(shown.concat())
}

fn show_digits(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::{own_leader_us, relayed_us};
    use crate::workloads::partitions::figures::{AcceptFigures, CpuPerMessage, Run};

    fn cpu(first: f64, others: Option<f64>) -> CpuPerMessage {
        CpuPerMessage {
            busiest: first,
            first,
            others,
            controllers: 0.0,
            servers: 0.0,
        }
    }

    #[test]
    fn the_first_leader_uses_more_for_the_accepts_that_it_relays() {
        // 8 for an accept of its partition, 1 for one that is dropped, 2 more for one that is
        // relayed.
        let accepts = || AcceptFigures {
            per_second: 0.0,
            p50_us: 0.0,
            spent: cpu(0.25 * 8.0 + 0.75 * 3.0, Some(0.25 * 8.0 + 0.75)),
        };
        let run = Run {
            partitions: 4,
            in_flight: 256,
            round: 0,
            heartbeats_per_second: 0.0,
            heartbeat: cpu(0.0, None),
            heartbeat_own_us: 0.0,
            heartbeat_dropped_us: None,
            request_dropped_us: Some(1.0),
            list_p50_us: 0.0,
            listing: cpu(0.0, None),
            accept: accepts(),
            accepts: accepts(),
        };
        let near = |found: Option<f64>, wanted: f64| {
            assert!(
                found.is_some_and(|found| (found - wanted).abs() < 1e-9),
                "{found:?}"
            );
        };
        near(Some(own_leader_us(&run)), 8.0);
        near(relayed_us(&run), 2.0);
    }
}
