//! What is printed: what was measured for each number of partitions, beside one in the same round; and what is computed from it: how much
//! the thread that is full first could carry, if it had a processor to itself, as the leaders of as many machines have.

use anyhow::{Context, Result};

use super::{COUNTS, IN_FLIGHT, Run, Spent};
use crate::report::Report;
use crate::samples::median;

/// How many partitions there can be, for which it is computed alone.
const MOST: f64 = 8.0;

/// A figure of a run; none where there is no such thing.
type Figure = fn(&Run) -> Option<f64>;

/// What was measured, and is the same however many accepts are in flight.
const MEASURED: [(&str, Figure); 13] = [
    ("heartbeats/s, 256 in flight", |run| {
        Some(run.heartbeats_per_second)
    }),
    ("CPU µs a heartbeat: its leader", |run| {
        Some(run.heartbeat_own_us)
    }),
    ("  each other leader, dropped", |run| {
        run.heartbeat_dropped_us
    }),
    ("  busiest thread, of all hosts'", |run| {
        Some(run.heartbeat.busiest)
    }),
    ("  all controllers", |run| Some(run.heartbeat.controllers)),
    ("  all servers", |run| Some(run.heartbeat.servers)),
    ("CPU µs a request: dropped", |run| run.request_dropped_us),
    ("list of 100 shards, p50, µs", |run| Some(run.list_p50_us)),
    ("CPU µs a list: first leader", |run| {
        Some(run.listing.first)
    }),
    ("  all controllers", |run| Some(run.listing.controllers)),
    ("  all servers", |run| Some(run.listing.servers)),
    ("accept p50, 1 in flight, µs", |run| {
        Some(run.accept.p50_us)
    }),
    ("CPU µs an accept: busiest thread", |run| {
        Some(run.accept.spent.busiest)
    }),
];

/// What was measured of accepts.
const ACCEPTS: [(&str, Figure); 9] = [
    ("accepts/s", |run| Some(run.accepts.per_second)),
    ("p50, µs", |run| Some(run.accepts.p50_us)),
    ("CPU µs an accept: busiest thread", |run| {
        Some(of_accept(run).busiest)
    }),
    ("  first leader", |run| Some(of_accept(run).first)),
    ("  each other leader", |run| of_accept(run).others),
    ("  its own leader", |run| Some(own(run))),
    ("  told on by the first", relayed),
    ("  all controllers", |run| Some(of_accept(run).controllers)),
    ("  all servers", |run| Some(of_accept(run).servers)),
];

/// What is computed.
const HEARTBEATS_CARRIED: (&str, Figure) =
    ("heartbeats/s", |run| Some(1e6 / run.heartbeat.busiest));
const ACCEPTS_CARRIED: (&str, Figure) = ("accepts/s", |run| Some(1e6 / of_accept(run).busiest));

fn of_accept(run: &Run) -> &Spent {
    &run.accepts.spent
}

/// The share of the hosts that one partition has.
fn share(run: &Run) -> f64 {
    1.0 / f64::from(run.partitions)
}

/// What an accept costs the leader whose it is: what another than the first spends on it, and does not on those that it drops.
fn own(run: &Run) -> f64 {
    let Some((others, dropped)) = of_accept(run).others.zip(run.request_dropped_us) else {
        return of_accept(run).first;
    };
    (others - (1.0 - share(run)) * dropped) / share(run)
}

/// What the first leader spends more than another, for each accept that is not its own.
fn relayed(run: &Run) -> Option<f64> {
    let spent = of_accept(run);
    Some((spent.first - spent.others?) / (1.0 - share(run)))
}

pub(super) fn show(report: &Report, runs: &[Run]) -> Result<()> {
    report.say("\nOver so many partitions, two controllers, three servers: median [least, most] of the rounds, × 1 partition\n");
    let header = COUNTS.map(|count| format!("{count:>32}"));
    report.say(&format!("{:<33}{}", "", header.concat()));
    let all: Vec<&Run> = runs.iter().collect();
    for (name, figure) in MEASURED {
        report.say(&line(&all, name, figure)?);
    }
    let with = |in_flight| runs.iter().filter(move |run| run.in_flight == in_flight);
    for in_flight in IN_FLIGHT {
        report.say(&format!("\n{in_flight} in flight"));
        let these: Vec<&Run> = with(in_flight).collect();
        for (name, figure) in ACCEPTS {
            report.say(&line(&these, name, figure)?);
        }
    }
    report.say("\nComputed: what there is when the busiest thread is full, each leader on a machine of its own\n");
    let (name, figure) = HEARTBEATS_CARRIED;
    report.say(&line(&all, name, figure)?);
    for in_flight in IN_FLIGHT {
        let these: Vec<&Run> = with(in_flight).collect();
        let (name, figure) = ACCEPTS_CARRIED;
        report.say(&line(
            &these,
            &format!("{name}, {in_flight} in flight"),
            figure,
        )?);
    }
    let of = |count, figure: fn(&Run) -> f64| median(of_count(&all, count).map(figure).collect());
    let most = COUNTS[COUNTS.len() - 1];
    let own = of(1, |run| run.heartbeat_own_us)?;
    let dropped = of(most, |run| run.heartbeat_dropped_us.unwrap_or(f64::NAN))?;
    let growth = own / (own / MOST + dropped * (1.0 - 1.0 / MOST));
    report.say(&format!(
        "\nHeartbeats with {MOST} partitions: {growth:.2} ×; with any number less than {:.2} ×, since each leader hears all",
        own / dropped
    ));
    Ok(())
}

fn of_count<'a>(runs: &[&'a Run], count: u8) -> impl Iterator<Item = &'a Run> {
    let runs = runs.iter().copied();
    runs.filter(move |run| run.partitions == count)
}

/// One figure for each number of partitions.
fn line(runs: &[&Run], name: &str, figure: Figure) -> Result<String> {
    let mut shown = Vec::from([format!("{name:<33}")]);
    for count in COUNTS {
        let values: Vec<f64> = of_count(runs, count).filter_map(figure).collect();
        if values.is_empty() {
            shown.push(format!("{:>32}", ""));
            continue;
        }
        let beside_one = |run: &Run| {
            let same = |one: &&Run| (one.round, one.in_flight) == (run.round, run.in_flight);
            let one = of_count(runs, 1).find(same)?;
            Some(figure(run)? / figure(one)?)
        };
        let ratios: Vec<f64> = of_count(runs, count).filter_map(beside_one).collect();
        let ratio = if count == 1 || ratios.is_empty() {
            String::new()
        } else {
            format!(" × {:.2}", median(ratios)?)
        };
        let least = values.iter().copied().min_by(f64::total_cmp);
        let most = values.iter().copied().max_by(f64::total_cmp);
        let (least, most) = least.zip(most).context("a value")?;
        let (median, least, most) = (digits(median(values)?), digits(least), digits(most));
        let figure = format!("{median} [{least}, {most}]{ratio}");
        shown.push(format!("{figure:>32}"));
    }
    Ok(shown.concat())
}

fn digits(value: f64) -> String {
    if value.abs() >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Accepts, Run, Spent};
    use super::{own, relayed};

    fn spent(first: f64, others: Option<f64>) -> Spent {
        Spent {
            busiest: first,
            first,
            others,
            controllers: 0.0,
            servers: 0.0,
        }
    }

    #[test]
    fn what_the_first_leader_spends_more_is_what_it_tells_on() {
        // 8 for an own one, 1 for one that is dropped, 2 more for one that is told on.
        let accepts = || Accepts {
            per_second: 0.0,
            p50_us: 0.0,
            spent: spent(0.25 * 8.0 + 0.75 * 3.0, Some(0.25 * 8.0 + 0.75)),
        };
        let run = Run {
            partitions: 4,
            in_flight: 256,
            round: 0,
            heartbeats_per_second: 0.0,
            heartbeat: spent(0.0, None),
            heartbeat_own_us: 0.0,
            heartbeat_dropped_us: None,
            request_dropped_us: Some(1.0),
            list_p50_us: 0.0,
            listing: spent(0.0, None),
            accept: accepts(),
            accepts: accepts(),
        };
        let near = |found: Option<f64>, wanted: f64| {
            assert!(
                found.is_some_and(|found| (found - wanted).abs() < 1e-9),
                "{found:?}"
            );
        };
        near(Some(own(&run)), 8.0);
        near(relayed(&run), 2.0);
    }
}
