//! How numbers become families of `OpenMetrics`. Which families there are is in `mod.rs`.

use std::fmt;

use prometheus_client::encoding::{
    DescriptorEncoder, EncodeGaugeValue, EncodeLabelSet, EncodeMetric,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Unit;

/// What a family is called, without its unit, and what it says.
pub(super) type About<'h> = (&'static str, Option<Unit>, &'h str);

/// No labels.
const NONE: [(&str, &str); 0] = [];

/// A page that families are written on.
pub(super) struct Page<'a>(pub(super) DescriptorEncoder<'a>);

impl Page<'_> {
    fn family<L: EncodeLabelSet, M: EncodeMetric>(
        &mut self,
        (name, unit, help): About<'_>,
        kind: MetricType,
        metrics: impl IntoIterator<Item = (L, M)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit.as_ref(), kind)?;
        for (labels, metric) in metrics {
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    pub(super) fn counters<L: EncodeLabelSet>(
        &mut self,
        about: About<'_>,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let values = values.into_iter();
        let counters = values.map(|(labels, value)| (labels, ConstCounter::new(value)));
        self.family(about, MetricType::Counter, counters)
    }

    pub(super) fn counter(&mut self, about: About<'_>, value: u64) -> fmt::Result {
        self.counters(about, [(NONE, value)])
    }

    pub(super) fn seconds_counter(&mut self, about: About<'_>, value: f64) -> fmt::Result {
        self.family(
            about,
            MetricType::Counter,
            [(NONE, ConstCounter::new(value))],
        )
    }

    pub(super) fn gauges<L: EncodeLabelSet>(
        &mut self,
        about: About<'_>,
        values: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let values = values.into_iter();
        let gauges = values.map(|(labels, value)| (labels, ConstGauge::new(value)));
        self.family(about, MetricType::Gauge, gauges)
    }

    pub(super) fn gauge(&mut self, about: About<'_>, value: impl EncodeGaugeValue) -> fmt::Result {
        self.family(about, MetricType::Gauge, [(NONE, ConstGauge::new(value))])
    }

    pub(super) fn histogram(&mut self, about: About<'_>, histogram: &Histogram) -> fmt::Result {
        self.family(about, MetricType::Histogram, [(NONE, histogram.clone())])
    }

    pub(super) fn info(
        &mut self,
        about: About<'_>,
        labels: &[(&'static str, &'static str)],
    ) -> fmt::Result {
        self.family(
            about,
            MetricType::Info,
            [(NONE, Info::new(labels.to_vec()))],
        )
    }
}
