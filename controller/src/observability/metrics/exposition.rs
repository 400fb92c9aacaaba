//! Encodes values as OpenMetrics metric families. The families themselves are defined in `mod.rs`.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, EncodeMetric,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Unit;

const NO_LABELS: [(&str, &str); 0] = [];

/// A writer of metric families. A family is all time series with the same name.
pub(crate) struct FamilyWriter<'a>(pub(crate) DescriptorEncoder<'a>);

impl FamilyWriter<'_> {
    /// Writes one family. `name` ends with the unit, if the metric has one, and does not have the
    /// suffix `_total`.
    fn family<L: EncodeLabelSet, M: EncodeMetric>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        metrics: impl IntoIterator<Item = (L, M)>,
    ) -> fmt::Result {
        let units = [Unit::Seconds, Unit::Bytes];
        let unit = units.iter().find(|unit| name.ends_with(unit.as_str()));
        let bare = unit.and_then(|unit| name.strip_suffix(unit.as_str())?.strip_suffix('_'));
        let bare = bare.unwrap_or(name);
        let mut family = self.0.encode_descriptor(bare, help, unit, kind)?;
        for (labels, metric) in metrics {
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    pub(crate) fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let values = values.into_iter();
        let counters = values.map(|(labels, value)| (labels, ConstCounter::new(value)));
        self.family(name, help, MetricType::Counter, counters)
    }

    pub(crate) fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeCounterValue,
    ) -> fmt::Result {
        self.counters(name, help, [(NO_LABELS, value)])
    }

    pub(crate) fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let values = values.into_iter();
        let gauges = values.map(|(labels, value)| (labels, ConstGauge::new(value)));
        self.family(name, help, MetricType::Gauge, gauges)
    }

    pub(crate) fn gauge(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeGaugeValue,
    ) -> fmt::Result {
        self.gauges(name, help, [(NO_LABELS, value)])
    }

    pub(crate) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        histogram: &Histogram,
    ) -> fmt::Result {
        self.family(
            name,
            help,
            MetricType::Histogram,
            [(NO_LABELS, histogram.clone())],
        )
    }

    pub(crate) fn info(
        &mut self,
        name: &str,
        help: &str,
        labels: &[(&'static str, &'static str)],
    ) -> fmt::Result {
        self.family(
            name,
            help,
            MetricType::Info,
            [(NO_LABELS, Info::new(labels.to_vec()))],
        )
    }
}
