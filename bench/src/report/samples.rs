//! The figures of every service in every round, and their medians.
//!
//! The code that prints the figures is in summary.rs.

use anyhow::{Context, Result};
use serde::Serialize;

use crate::load::outcome::LoadOutcome;

/// One line of a comparison: a service and a number of requests in flight, which is 0 in an open
/// loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    pub(crate) in_flight: u16,
}

impl Series {
    pub(crate) const fn new(name: &'static str, in_flight: u16) -> Self {
        Self { name, in_flight }
    }
}

/// The figures of one series in one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    /// The number of requests in flight. 0 in an open loop.
    pub(crate) in_flight: u16,
    pub(crate) round: u32,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// The CPU time per reply. `None` for the disk.
    pub(crate) cpu_us: Option<CpuUs>,
}

/// CPU time per reply in microseconds, by process.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct CpuUs {
    pub(crate) generator: f64,
    pub(crate) nats_server: f64,
    /// The CPU time of the service. `None` if the server itself is the service.
    pub(crate) service: Option<f64>,
    /// The CPU time of the agents. `None` if no agents take part.
    pub(crate) agents: Option<f64>,
}

impl Sample {
    /// Computes the figures of a load. The load must have watched the server and, if they take
    /// part, the service and the agents, in this order.
    pub(crate) fn from_load(series: Series, round: u32, load: &LoadOutcome) -> Self {
        let per_reply = |seconds: &f64| seconds * 1e6 / load.replies as f64;
        let mut cpu = load.cpu.iter().map(per_reply);
        Self {
            name: series.name,
            in_flight: series.in_flight,
            round,
            per_second: load.per_second(),
            p50_us: load.latency_us(0.5),
            p99_us: load.latency_us(0.99),
            cpu_us: cpu
                .next()
                .zip(cpu.next())
                .map(|(generator, nats_server)| CpuUs {
                    generator,
                    nats_server,
                    service: cpu.next(),
                    agents: cpu.next(),
                }),
        }
    }
}

/// All samples of one measurement.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Samples(pub(crate) Vec<Sample>);

impl Samples {
    /// Returns the median of a figure over the rounds.
    pub(crate) fn median(&self, series: Series, figure: impl Fn(&Sample) -> f64) -> Result<f64> {
        median(self.select(series).map(figure).collect())
    }

    /// Computes a figure from each round's samples of two series, and returns the median over the
    /// rounds. A round without a sample of `other` is skipped.
    pub(crate) fn paired_median(
        &self,
        series: Series,
        other: Series,
        figure: impl Fn(&Sample, &Sample) -> f64,
    ) -> Result<f64> {
        let pairs = self.select(series).filter_map(|sample| {
            let mut others = self.select(other);
            let other = others.find(|other| other.round == sample.round)?;
            Some(figure(sample, other))
        });
        median(pairs.collect())
    }

    /// Returns the highest rate of a series so far.
    pub(crate) fn max_per_second(&self, series: Series) -> Option<f64> {
        let rates = self.select(series).map(|sample| sample.per_second);
        rates.max_by(f64::total_cmp)
    }

    fn select(&self, series: Series) -> impl Iterator<Item = &Sample> {
        let is_selected = move |sample: &&Sample| {
            sample.name == series.name && sample.in_flight == series.in_flight
        };
        self.0.iter().filter(is_selected)
    }
}

/// Returns the items in a different order for each round, so that no service is always measured
/// first.
pub(crate) fn rotate<T: Clone>(items: &[T], round: u32) -> Vec<T> {
    let mut rotated = items.to_vec();
    rotated.rotate_left(round as usize % items.len());
    rotated
}

/// Returns the middle value, or the mean of the two middle values.
pub(crate) fn median(mut values: Vec<f64>) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    let last = values
        .len()
        .checked_sub(1)
        .context("nothing was measured")?;
    Ok(f64::midpoint(values[last / 2], values[values.len() / 2]))
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    #[expect(clippy::float_cmp, reason = "halves are exact")]
    fn a_median_is_the_middle_value_or_the_mean_of_the_two_middle_values() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).unwrap(), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]).unwrap(), 2.5);
        assert!(median(Vec::new()).is_err());
    }
}
