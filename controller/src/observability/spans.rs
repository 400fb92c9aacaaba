//! The controller's spans: each request for a change with its commit, each command, each result. Which is whose parent is
//! the way of the messages: a request's or result's trace context is replaced by that of its span, goes through the core
//! as any other, and comes back with the commands and broadcasts that it causes, once those are durable.

use scuttle_core::{Effect, Input, Reply, Trace};
use scuttle_schemas::agents::{AgentCommand, ResultOutcome};
use scuttle_schemas::subjects::AgentChannel;
use scuttle_telemetry::span::is_enabled;
use scuttle_telemetry::{KeyValue, Span, SpanKind, start_span};

use crate::engine::CommitTiming;
use crate::observability::audit::{AuditSubject, Outcome, word};
use crate::request::decode::{RequestHead, parse_trace};

/// The attributes that are our own are named as the fields of the log.
const OPERATION: &str = "scuttle.operation_id";
const HOST: &str = "scuttle.host_uuid";
const DECKY: &str = "scuttle.decky_id";
const OUTCOME: &str = "scuttle.outcome";

/// Begins the span of what came in: a request that the audit log has, or the result of an operation that is traced.
#[allow(
    clippy::needless_pass_by_value,
    reason = "the caller passes on its own optional reference"
)]
pub(crate) fn start_request(
    head: &RequestHead<'_>,
    is_audited: bool,
    input: Option<&mut Input>,
) -> Option<Box<Span>> {
    if !is_enabled() {
        return None;
    }
    let parent = parse_trace(head.message);
    let (kind, name) = if let Some(Input::Result { .. }) = input {
        parent.as_ref()?;
        (SpanKind::Consumer, "result recorded")
    } else {
        if !is_audited {
            return None;
        }
        (SpanKind::Server, head.endpoint.name())
    };
    let subject = head.message.subject.to_string();
    let mut span = start_span(kind, name, parent.as_deref(), || {
        messaging("process", subject)
    })?;
    let trace = match input {
        Some(Input::Teardown { trace, .. }) => Some(trace),
        Some(Input::Result { trace, result, .. }) => {
            span.set_attribute(OPERATION, result.operation_id.to_string());
            span.set_attribute(HOST, result.host_uuid.to_string());
            span.set_attribute(
                OUTCOME,
                match result.outcome {
                    ResultOutcome::Succeeded => "succeeded",
                    ResultOutcome::Failed => "failed",
                },
            );
            Some(trace)
        }
        _ => None,
    };
    if let Some((trace, context)) = trace.zip(span.traceparent()) {
        *trace = Some(Trace::from(context));
    }
    Some(Box::new(span))
}

/// Notes how it was answered, and from when to when it waited for the disk. It ends when it is dropped, after the answer.
pub(crate) fn finish_request(
    span: &mut Span,
    asked: Option<&AuditSubject>,
    reply: &Reply,
    timing: Option<CommitTiming>,
) {
    if let Some(asked) = asked {
        let outcome = Outcome::of(asked, reply);
        for (name, id) in [
            (OPERATION, outcome.operation.map(|id| id.to_string())),
            (HOST, outcome.host.map(ToString::to_string)),
            (DECKY, outcome.decky.map(ToString::to_string)),
        ] {
            if let Some(id) = id {
                span.set_attribute(name, id);
            }
        }
        span.set_attribute(OUTCOME, outcome.word());
        span.set_attribute("scuttle.repeated", outcome.repeated);
    }
    if let Reply::Rejected(refusal) = reply {
        span.set_error(word(refusal.code).unwrap_or_default(), &*refusal.message);
    } else if let Some(timing) = timing {
        span.record_child("commit", timing.decided_at, timing.durable_at);
    }
}

/// Begins the span of sending a command that is traced, each time that it is sent, and gives it to the agent as the
/// parent of what it will do.
pub(crate) fn start_command(effect: &mut Effect) -> Option<Span> {
    if !is_enabled() {
        return None;
    }
    let Effect::Command {
        host,
        command,
        trace: Some(trace),
    } = effect
    else {
        return None;
    };
    let mut span = start_span(SpanKind::Producer, "publish command", Some(trace), || {
        messaging("send", AgentChannel::Commands.subject(host))
    })?;
    span.set_attribute(HOST, host.to_string());
    match command {
        AgentCommand::Teardown(teardown) => {
            span.set_attribute("scuttle.command", "teardown");
            span.set_attribute(OPERATION, teardown.operation_id.to_string());
            span.set_attribute("scuttle.attempt", i64::from(teardown.attempt));
            if let Some(decky) = &teardown.decky_id {
                span.set_attribute(DECKY, decky.to_string());
            }
        }
        AgentCommand::Cancel(cancel) => {
            span.set_attribute("scuttle.command", "cancel");
            span.set_attribute(OPERATION, cancel.operation_id.to_string());
        }
    }
    if let Some(context) = span.traceparent() {
        *trace = Trace::from(context);
    }
    Some(span)
}

/// What OpenTelemetry's conventions ask of whoever sends or takes a message.
fn messaging(operation: &'static str, subject: String) -> [KeyValue; 4] {
    [
        KeyValue::new("messaging.system", "nats"),
        KeyValue::new("messaging.operation.type", operation),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.destination.name", subject),
    ]
}
