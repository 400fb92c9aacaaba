//! What was measured, round by round, and the medians of it.

use anyhow::{Context, Result};
use serde::Serialize;

use crate::disk::Appends;
use crate::load::Load;

/// One of those that are compared, in one round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    pub(crate) name: &'static str,
    /// 0 in an open loop.
    pub(crate) in_flight: u16,
    pub(crate) round: u32,
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Microseconds on a processor for each answer; the disk needs none of these.
    pub(crate) cpu_us: Option<CpuUs>,
}

/// Where the time goes, by process.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct CpuUs {
    pub(crate) generator: f64,
    pub(crate) nats_server: f64,
    /// None where the server itself is the service.
    pub(crate) service: Option<f64>,
    /// Where there are any.
    pub(crate) agents: Option<f64>,
}

impl Sample {
    pub(crate) fn of(name: &'static str, in_flight: u16, round: u32, load: &Load) -> Self {
        let per_answer = |seconds: &f64| seconds * 1e6 / load.answers as f64;
        let mut cpu = load.cpu.iter().map(per_answer);
        Self {
            name,
            in_flight,
            round,
            per_second: load.per_second(),
            p50_us: load.micros(0.5),
            p99_us: load.micros(0.99),
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

    /// The disk's own.
    pub(crate) fn of_disk(round: u32, appends: Appends) -> Self {
        Self {
            name: DISK,
            in_flight: 1,
            round,
            per_second: appends.per_second,
            p50_us: appends.p50_us,
            p99_us: appends.p99_us,
            cpu_us: None,
        }
    }
}

/// The disk among what is compared.
pub(crate) const DISK: &str = "4 KiB append + fdatasync";

/// All of one measurement.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Samples(pub(crate) Vec<Sample>);

impl Samples {
    /// The median over the rounds of one figure.
    pub(crate) fn median(
        &self,
        (name, in_flight): (&str, u16),
        figure: impl Fn(&Sample) -> f64,
    ) -> Result<f64> {
        median(self.of(name, in_flight).map(figure).collect())
    }

    /// The median over the rounds of what two make together, each pair of the same round.
    pub(crate) fn paired(
        &self,
        (name, in_flight): (&str, u16),
        other: (&str, u16),
        figure: impl Fn(&Sample, &Sample) -> f64,
    ) -> Result<f64> {
        let pairs = self.of(name, in_flight).filter_map(|sample| {
            let mut others = self.of(other.0, other.1);
            let other = others.find(|other| other.round == sample.round)?;
            Some(figure(sample, other))
        });
        median(pairs.collect())
    }

    /// The most that one has done in a second.
    pub(crate) fn fastest(&self, name: &str, in_flight: u16) -> Option<f64> {
        let rates = self.of(name, in_flight).map(|sample| sample.per_second);
        rates.max_by(f64::total_cmp)
    }

    fn of<'a>(&'a self, name: &'a str, in_flight: u16) -> impl Iterator<Item = &'a Sample> {
        let this = move |sample: &&Sample| sample.name == name && sample.in_flight == in_flight;
        self.0.iter().filter(this)
    }
}

/// In another order each round: the first is not always the one that finds the machine at rest.
pub(crate) fn turned<T: Clone>(all: &[T], round: u32) -> Vec<T> {
    let mut turned = all.to_vec();
    turned.rotate_left(round as usize % all.len());
    turned
}

/// The middle, or what is between the two middles.
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
    fn a_median_is_the_middle_or_between_the_two_middles() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]).unwrap(), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]).unwrap(), 2.5);
        assert!(median(Vec::new()).is_err());
    }
}
