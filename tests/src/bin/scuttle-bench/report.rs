//! What is printed: a line a round, then medians; or the same as one JSON object.

use serde::Serialize;

use crate::AcceptArgs;
use crate::load::Measured;

/// The least share of the echo service's answers that durable accepts must reach.
const TARGET: f64 = 0.33;

/// One service in one round.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Figures {
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
}

impl Figures {
    pub(crate) fn of(measured: &Measured) -> Self {
        let micros = |quantile| measured.latencies.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            per_second: measured.per_second,
            p50_us: micros(0.5),
            p99_us: micros(0.99),
        }
    }

    fn cells(&self) -> String {
        let millis = |micros: f64| format!("{:.1}ms", micros / 1e3);
        let (p50, p99) = (millis(self.p50_us), millis(self.p99_us));
        format!("{:>8.0} {p50:>6} {p99:>7}", self.per_second)
    }
}

/// One round.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Round {
    /// From 1; the medians have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) number: Option<u32>,
    pub(crate) echo: Figures,
    pub(crate) accept: Figures,
    /// Accepts over echoes.
    pub(crate) ratio: f64,
    pub(crate) appends_per_second: f64,
}

impl Round {
    pub(crate) fn print(&self) {
        let name = self.number.map_or("median".to_owned(), |n| n.to_string());
        let (echo, accept) = (self.echo.cells(), self.accept.cells());
        let (ratio, appends) = (self.ratio, self.appends_per_second);
        println!("{name:<6}  {echo}  {accept}   {ratio:.3} {appends:>10.0}");
    }
}

/// The whole measurement.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    nats_server: String,
    cores: usize,
    in_flight: u16,
    seconds: f64,
    target: f64,
    pub(crate) rounds: Vec<Round>,
    /// Of each column.
    median: Option<Round>,
}

impl Report {
    pub(crate) fn new(args: &AcceptArgs, nats_server: &str) -> Self {
        Self {
            nats_server: nats_server.to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            in_flight: args.in_flight,
            seconds: args.seconds.as_secs_f64(),
            target: TARGET,
            rounds: Vec::new(),
            median: None,
        }
    }

    /// Takes the medians.
    pub(crate) fn finish(&mut self) {
        let median = |of: &dyn Fn(&Round) -> f64| median(self.rounds.iter().map(of).collect());
        let figures = |of: &dyn Fn(&Round) -> Figures| Figures {
            per_second: median(&|round| of(round).per_second),
            p50_us: median(&|round| of(round).p50_us),
            p99_us: median(&|round| of(round).p99_us),
        };
        self.median = Some(Round {
            number: None,
            echo: figures(&|round| round.echo),
            accept: figures(&|round| round.accept),
            ratio: median(&|round| round.ratio),
            appends_per_second: median(&|round| round.appends_per_second),
        });
    }

    pub(crate) fn reached(&self) -> bool {
        self.median.is_some_and(|median| median.ratio >= TARGET)
    }

    pub(crate) fn print_head(&self) {
        println!(
            "Durable accepts beside a bare echo service: {} in flight, {} s each, nats-server {}, {} cores\n",
            self.in_flight, self.seconds, self.nats_server, self.cores
        );
        println!("          ──────── echo ────────   ─────── accept ───────");
        println!(
            "round      per s    p50     p99     per s    p50     p99   ratio   4 KiB syncs/s"
        );
    }

    pub(crate) fn print_end(&self) {
        let Some(median) = &self.median else { return };
        median.print();
        let (sign, word) = if self.reached() {
            ("✓", "reached")
        } else {
            ("✗", "missed")
        };
        println!(
            "\n{sign} {:.2} × echo; the target, at least {TARGET} × echo, is {word}\n  \
             each accept was on disk before its answer: {:.1} accepts to one 4 KiB append + fdatasync of this disk",
            median.ratio,
            median.accept.per_second / median.appends_per_second
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    #[expect(clippy::float_cmp, reason = "halves are exact")]
    fn a_median_is_the_middle_or_between_the_two_middles() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
