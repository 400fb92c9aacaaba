//! Spans: what this process did for one trace, from when to when. A trace's context comes and goes as a W3C `traceparent`.
//! Where traces are off there are no spans, and all of this is the one look that finds that out.

use std::time::SystemTime;

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt, TraceFlags, Tracer};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::Span as SdkSpan;

use crate::export::tracer;

/// The header's name, by which the library reads it.
const TRACEPARENT: &str = "traceparent";

/// What a span is to the others of its trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Answers a request.
    Server,
    /// Sends what somebody else works on.
    Producer,
    /// Works on what somebody else has sent.
    Consumer,
}

/// Something that goes on. It ends when it is dropped.
#[derive(Debug)]
pub struct Span {
    span: SdkSpan,
    /// It came with no context of its own.
    root: bool,
}

/// Whether there are spans.
pub fn on() -> bool {
    tracer().is_some()
}

/// The time, where spans need it.
pub fn now() -> Option<SystemTime> {
    on().then(SystemTime::now)
}

/// Begins a span below the one that `parent` names, or a trace of its own. None where traces are off; `attributes`
/// are asked for only where they are on.
pub fn start<const N: usize>(
    kind: Kind,
    name: &'static str,
    parent: Option<&str>,
    attributes: impl FnOnce() -> [KeyValue; N],
) -> Option<Span> {
    let tracer = tracer()?;
    let context = remote(parent);
    let root = !context.span().span_context().is_valid();
    let builder = tracer
        .span_builder(name)
        .with_kind(match kind {
            Kind::Server => SpanKind::Server,
            Kind::Producer => SpanKind::Producer,
            Kind::Consumer => SpanKind::Consumer,
        })
        .with_attributes(attributes());
    let span = tracer.build_with_context(builder, &context);
    Some(Span { span, root })
}

impl Span {
    /// Its context, for whatever it causes. None for a trace that begins here and is not sampled: nobody would see it,
    /// and what is traced is told in messages of its own.
    pub fn context(&self) -> Option<String> {
        let context = self.span.span_context();
        if self.root && !context.is_sampled() {
            return None;
        }
        let sampled = context.trace_flags() & TraceFlags::SAMPLED;
        let (trace, span) = (context.trace_id(), context.span_id());
        Some(format!("00-{trace}-{span}-{sampled:02x}"))
    }

    /// Notes something about it.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.span.set_attribute(KeyValue::new(name, value));
    }

    /// Notes that something happened in it, now.
    pub fn event(&mut self, name: &'static str, attributes: Vec<KeyValue>) {
        self.span.add_event(name, attributes);
    }

    /// It did not do what it was to do: `kind` is one of few words, `message` says what happened.
    pub fn failed(&mut self, kind: impl Into<Value>, message: impl Into<String>) {
        self.set("error.type", kind);
        self.span.set_status(Status::error(message.into()));
    }

    /// A part of it that is over.
    pub fn part(&self, name: &'static str, from: SystemTime, to: SystemTime) {
        let Some(tracer) = tracer() else { return };
        let context = Context::new().with_remote_span_context(self.span.span_context().clone());
        let builder = tracer.span_builder(name).with_start_time(from);
        let mut part = tracer.build_with_context(builder, &context);
        part.end_with_timestamp(to);
    }
}

/// A context that came with a message, if it is one.
fn remote(traceparent: Option<&str>) -> Context {
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

    use super::{Kind, on, remote, start};

    #[test]
    fn a_context_is_read_whole_or_not_at_all() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = remote(Some(text));
        let span = context.span();
        let read = span.span_context();
        assert!(read.is_valid() && read.is_sampled());
        let (trace, span) = (read.trace_id().to_string(), read.span_id().to_string());
        assert_eq!(format!("00-{trace}-{span}-01"), text);
        for wrong in ["", "nonsense", &text[..40], &text.replace('4', "x")] {
            assert!(!remote(Some(wrong)).span().span_context().is_valid());
        }
    }

    #[test]
    fn where_traces_are_off_nothing_is_asked_for() {
        assert!(!on());
        let span = start::<0>(Kind::Server, "nothing", None, || unreachable!());
        assert!(span.is_none());
    }
}
