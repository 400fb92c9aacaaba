//! Trace spans. The context of a trace is received and sent as a W3C `traceparent`. While traces
//! are disabled, no spans are created, and each call costs only one check.

use std::time::SystemTime;

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{self, Span as _, Status, TraceContextExt, TraceFlags, Tracer};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::Span as SdkSpan;

use crate::export::tracer;

/// The name of the header from which the OpenTelemetry library reads the context.
const TRACEPARENT: &str = "traceparent";

/// The role of a span in its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// The handling of a request.
    Server,
    /// The sending of a message that another process handles.
    Producer,
    /// The handling of a message from another process.
    Consumer,
}

/// A span that has started. It ends when it is dropped.
#[derive(Debug)]
pub struct Span {
    span: SdkSpan,
    /// Whether the span has no parent.
    is_root: bool,
}

/// Returns whether traces are enabled.
pub fn is_enabled() -> bool {
    tracer().is_some()
}

/// Returns the current time, or `None` while traces are disabled.
pub fn now_if_enabled() -> Option<SystemTime> {
    is_enabled().then(SystemTime::now)
}

/// Starts a span as a child of the span that `parent` names. If `parent` is missing or invalid, the
/// span starts a new trace. While traces are disabled, returns `None` and does not call
/// `attributes`.
pub fn start_span<const N: usize>(
    kind: SpanKind,
    name: &'static str,
    parent: Option<&str>,
    attributes: impl FnOnce() -> [KeyValue; N],
) -> Option<Span> {
    let tracer = tracer()?;
    let context = parse_context(parent);
    let is_root = !context.span().span_context().is_valid();
    let builder = tracer
        .span_builder(name)
        .with_kind(match kind {
            SpanKind::Server => trace::SpanKind::Server,
            SpanKind::Producer => trace::SpanKind::Producer,
            SpanKind::Consumer => trace::SpanKind::Consumer,
        })
        .with_attributes(attributes());
    let span = tracer.build_with_context(builder, &context);
    Some(Span { span, is_root })
}

impl Span {
    /// Returns the context to send with messages that this span causes. Returns `None` for a new
    /// trace that is not sampled, because no collector would show the trace, and because changes
    /// with a context need separate messages.
    pub fn traceparent(&self) -> Option<String> {
        let context = self.span.span_context();
        if self.is_root && !context.is_sampled() {
            return None;
        }
        let sampled = context.trace_flags() & TraceFlags::SAMPLED;
        let (trace, span) = (context.trace_id(), context.span_id());
        Some(format!("00-{trace}-{span}-{sampled:02x}"))
    }

    pub fn set_attribute(&mut self, name: &'static str, value: impl Into<Value>) {
        self.span.set_attribute(KeyValue::new(name, value));
    }

    /// Adds an event with the current time.
    pub fn add_event(&mut self, name: &'static str, attributes: Vec<KeyValue>) {
        self.span.add_event(name, attributes);
    }

    /// Marks the span as failed. `kind` is one of a few fixed words, and `message` describes the
    /// failure.
    pub fn set_error(&mut self, kind: impl Into<Value>, message: impl Into<String>) {
        self.set_attribute("error.type", kind);
        self.span.set_status(Status::error(message.into()));
    }

    /// Records a child span that has already ended.
    pub fn record_child(&self, name: &'static str, from: SystemTime, to: SystemTime) {
        let Some(tracer) = tracer() else { return };
        let context = Context::new().with_remote_span_context(self.span.span_context().clone());
        let builder = tracer.span_builder(name).with_start_time(from);
        let mut child = tracer.build_with_context(builder, &context);
        child.end_with_timestamp(to);
    }
}

/// Parses a W3C trace context. Returns an empty context if `traceparent` is missing or invalid.
fn parse_context(traceparent: Option<&str>) -> Context {
    struct Header<'a>(&'a str);
    impl Extractor for Header<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            (key == TRACEPARENT).then_some(self.0)
        }
        fn keys(&self) -> Vec<&str> {
            vec![TRACEPARENT]
        }
    }
    let none = Context::new();
    match traceparent {
        Some(text) => TraceContextPropagator::new().extract_with_context(&none, &Header(text)),
        None => none,
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceContextExt;

    use super::{SpanKind, is_enabled, parse_context, start_span};

    #[test]
    fn a_context_is_parsed_completely_or_not_at_all() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = parse_context(Some(text));
        let span = context.span();
        let read = span.span_context();
        assert!(read.is_valid() && read.is_sampled());
        let (trace, span) = (read.trace_id().to_string(), read.span_id().to_string());
        assert_eq!(format!("00-{trace}-{span}-01"), text);
        for wrong in ["", "nonsense", &text[..40], &text.replace('4', "x")] {
            assert!(!parse_context(Some(wrong)).span().span_context().is_valid());
        }
    }

    #[test]
    fn while_traces_are_disabled_no_attributes_are_computed() {
        assert!(!is_enabled());
        let span = start_span::<0>(SpanKind::Server, "nothing", None, || unreachable!());
        assert!(span.is_none());
    }
}
